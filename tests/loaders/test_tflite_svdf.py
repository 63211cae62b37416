"""SVDF: its memory is passed on by the caller, and every frame equals TensorFlow's interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.build import Target
from mcu_export.errors import UnsupportedLayerError
from mcu_export.loaders import load_network
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import random_inputs, run_reference
from mcu_export.verify import verify
from tests.cases.test_cases import write_c
from tests.contract import modern

pytest.importorskip("tensorflow")

from tests.loaders.tflite_edit import edited, svdf_network
from tests.loaders.tflite_networks import interpret

FRAMES = 40


@pytest.fixture(scope="module")
def content() -> bytes:
    return svdf_network()


def _load(content: bytes, folder: Path) -> QuantGraph:
    path = folder / "svdf.tflite"
    path.write_bytes(content)
    quant = load_network(path)
    assert isinstance(quant, QuantGraph)
    return quant


def test_frames_equal_the_interpreter(content: bytes, tmp_path: Path):
    quant = _load(content, tmp_path)
    frames = np.random.default_rng(1).integers(-128, 128, (FRAMES, 10))
    expected = interpret(content, frames)[""].reshape(FRAMES, -1)
    memories = quant.graph.details["memories"]
    assert len(memories) == 2
    now = {m["input"]: np.zeros((1, *quant.graph.shapes()[m["input"]])) for m in memories}
    outputs = []
    for frame in frames:
        values = run_reference(quant, {"in": frame[None], **now})
        outputs.append(values[quant.graph.outputs[0]][0])
        now = {m["input"]: values[m["output"]] for m in memories}
    assert np.array_equal(np.array(outputs), expected)
    assert len(np.unique(expected)) > 50


@pytest.mark.parametrize("backend", ["plain-c", "cmsis-nn"])
def test_c_gives_the_integers(backend: str, content: bytes, tmp_path: Path, monkeypatch):
    if backend == "cmsis-nn" and not modern.given():
        for name, value in modern.build(tmp_path / "library").items():
            monkeypatch.setenv(name, value)
    exported = write_c(_load(content, tmp_path), backend, tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 8), Target(sanitize=True))
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


def test_a_memory_with_a_zero_point_is_refused(content: bytes, tmp_path: Path):
    def move(model) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.isVariable:
                tensor.quantization.zeroPoint = [5]

    with pytest.raises(UnsupportedLayerError, match=r"its memory 'first/state'.*\(q - 5\)"):
        _load(edited(content, move), tmp_path)
