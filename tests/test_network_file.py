"""``NAME_reference.npz``: what is written is read again, and damage is an error of its own."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mcu_export.errors import ModelFileError
from mcu_export.graph import dump
from mcu_export.network_file import STRUCTURE, read_network, write_network
from mcu_export.ops import RELU, Add, Clamp
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import random_inputs, run_reference
from tests.cases.networks import CASES
from tests.helpers import GraphBuilder, after_passes, quantized, toy


def saved(quant: QuantGraph, folder: Path, count: int = 3) -> Path:
    path = folder / "net_reference.npz"
    path.write_bytes(write_network(quant, random_inputs(quant, count)))
    return path


@pytest.mark.parametrize("scheme", ["q7", "q15"])
@pytest.mark.parametrize("name", [*CASES, "toy"])
def test_round_trip(name: str, scheme: str, tmp_path: Path) -> None:
    graph = after_passes(toy()) if name == "toy" else CASES[name]()
    quant = quantized(graph, scheme)
    samples = random_inputs(quant, 3)
    again, stored = read_network(saved(quant, tmp_path))
    assert dump(again.graph) == dump(graph)
    assert (again.scheme, again.input_formats) == (quant.scheme, quant.input_formats)
    assert again.formats() == quant.formats()
    for one, other in zip(quant.nodes, again.nodes, strict=True):
        assert one.arithmetic == other.arithmetic
        assert one.param_formats == other.param_formats
        assert set(one.params) == set(other.params)
        for key, array in one.params.items():
            np.testing.assert_array_equal(array, other.params[key])
        for key, array in one.node.params.items():
            np.testing.assert_array_equal(array, other.node.params[key])
            assert other.node.params[key].dtype == array.dtype
    for key, array in samples.items():
        np.testing.assert_array_equal(stored[key], array)
    expected, got = run_reference(quant, samples), run_reference(again, stored)
    for key in expected:
        np.testing.assert_array_equal(got[key], expected[key])


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (quantized(after_passes(toy())) for _ in range(2))
    samples = random_inputs(first, 3)
    content = write_network(first, samples)
    assert write_network(second, samples) == content
    again, stored = read_network(saved(first, tmp_path))
    assert write_network(again, stored) == content


def test_no_pickles_and_no_time_of_day() -> None:
    quant = quantized(after_passes(toy()))
    content = write_network(quant, random_inputs(quant, 3))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            if info.filename != STRUCTURE:
                np.load(io.BytesIO(archive.read(info)), allow_pickle=False)


@pytest.mark.parametrize("name", ["a/b", "a.npy", "ä", "", "nul\0byte", "x.y.z", "sample", "../up"])
def test_any_name_of_inputs_and_layers(name: str, tmp_path: Path) -> None:
    b = GraphBuilder("f")
    first, second = b.input(name, (2,)), b.input("other", (2,))
    y = b.add(name + "!", Add(), [first, second])
    quant = quantized(b.finish([b.add(name + "?", Clamp(RELU), [y])], {}))
    samples = random_inputs(quant, 3)
    again, stored = read_network(saved(quant, tmp_path))
    assert dump(again.graph) == dump(quant.graph)
    assert list(stored) == [name, "other"]
    np.testing.assert_array_equal(stored[name], samples[name])


def changed(path: Path, change: object) -> None:
    """Rewrite the JSON text of the file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    structure = json.loads(members[STRUCTURE])
    members[STRUCTURE] = json.dumps(change(structure)).encode()  # type: ignore[operator]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def without(key: str) -> object:
    return lambda s: {k: v for k, v in s.items() if k != key}


def in_node(**values: object) -> object:
    return lambda s: {**s, "nodes": [{**s["nodes"][0], **values}, *s["nodes"][1:]]}


BROKEN = {
    "other version": lambda s: {**s, "abi": 999},
    "a list": lambda s: [s],
    "a number": lambda s: 3,
    "null": lambda s: None,
    "no abi": without("abi"),
    "no nodes": without("nodes"),
    "nodes are numbers": lambda s: {**s, "nodes": [1, 2]},
    "more nodes": lambda s: {**s, "nodes": [*s["nodes"], s["nodes"][0]]},
    "other op": in_node(op={"is": "Path", "args": "x"}),
    "op without a type": in_node(op={}),
    "op with another field": in_node(op={"is": "Dense", "frac": 1}),
    "op of a format": in_node(op={"is": "PowerOfTwo", "bits": 8, "frac_bits": 1}),
    "op is text": in_node(op="conv2d"),
    "input that is not there": in_node(inputs=["nothing"]),
    "other shape": in_node(shape=[1, 2, 3]),
    "shape of text": in_node(shape="abc"),
    "no such output": lambda s: {**s, "outputs": ["nothing"]},
    "scheme": lambda s: {**s, "scheme": 7},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_structure_that_makes_no_sense(what: str, tmp_path: Path) -> None:
    path = saved(quantized(after_passes(toy())), tmp_path)
    changed(path, BROKEN[what])
    with pytest.raises(ModelFileError) as caught:
        read_network(path)
    assert caught.value.where == str(path)
    assert caught.value.fix == "export again"


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"PK\x05\x06" + b"\0" * 18])
def test_files_that_are_none_of_ours(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net_reference.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_network(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        read_network(tmp_path / "none.npz")


@pytest.fixture(scope="module")
def good() -> bytes:
    quant = quantized(after_passes(toy()))
    return write_network(quant, random_inputs(quant, 3))


@pytest.mark.parametrize("seed", range(200))
def test_random_damage_is_never_a_traceback(seed: int, good: bytes, tmp_path: Path) -> None:
    r = np.random.default_rng(seed)
    content = bytearray(good)
    for _ in range(int(r.integers(1, 6))):
        content[int(r.integers(len(content)))] = int(r.integers(256))
    if seed % 3 == 0:
        del content[int(r.integers(len(content))) :]
    path = tmp_path / "net_reference.npz"
    path.write_bytes(content)
    with suppress(ModelFileError):
        read_network(path)
