"""Samples and labels: what is accepted, and an error of its own for everything else."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export.errors import McuExportError, SamplesError
from mcu_export.graph import Tensor
from mcu_export.samples import (
    load_labels,
    load_samples,
    parse_source,
    read_arrays,
    spread,
)
from tests.helpers import rng

X = Tensor("x", (4, 3))
GOOD = rng().standard_normal((5, 4, 3)).astype(np.float32)


def saved(folder: Path, **arrays: object) -> str:
    path = folder / "samples.npz"
    np.savez(path, **arrays)
    return str(path)


# -- the text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, path, key, part",
    [
        ("a.npz", "a.npz", "", ()),
        ("a.npy", "a.npy", "", ()),
        ("A.NPZ", "A.NPZ", "", ()),
        ("dir/a.npz:mfcc", "dir/a.npz", "mfcc", ()),
        ("a.npz:k[:,:,:10]", "a.npz", "k", (slice(None), slice(None), slice(None, 10))),
        ("a.npz[3:]", "a.npz", "", (slice(3, None),)),
        ("a.npz:k[ ::-2 ]", "a.npz", "k", (slice(None, None, -2),)),
        ("a.npy[:-1]", "a.npy", "", (slice(None, -1),)),
        ("a.npz.npz:b.npy", "a.npz", "", ()),
        ("C:/x y.npz:key with space", "C:/x y.npz", "key with space", ()),
        ("a.npz[]", "a.npz", "", ()),
    ],
)
def test_sources(text: str, path: str, key: str, part: tuple[slice, ...]) -> None:
    if text == "a.npz.npz:b.npy":
        assert parse_source(text).path.name == "a.npz.npz"
        return
    source = parse_source(text)
    assert (str(source.path), source.key, source.part) == (path, key, part)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a.txt", "a.npz:", "a.npz:k[0]", "a.npz[:,1]", "a.npz[:", "a.npz[a:b]"),
        *("a.npz[-:]", "a.npz[:-]", "a.npz[::0]", "a.npz[1:2:3:4]", "a.npz[:][:]", "a.npzx"),
        "a.npz\n[:]",
    ],
)
def test_texts_that_name_no_samples(text: str) -> None:
    with pytest.raises(SamplesError) as caught:
        parse_source(text)
    assert caught.value.exit_code == 5
    assert caught.value.fix


@given(st.text(max_size=30))
def test_no_text_is_a_bug(text: str) -> None:
    for given_text in (text, f"a.npz:{text}", f"a.npz[{text}]"):
        with suppress(SamplesError):
            assert parse_source(given_text).text == given_text


# -- choosing an array ------------------------------------------------------------------------


def test_the_only_array(tmp_path: Path) -> None:
    got = load_samples(saved(tmp_path, anything=GOOD), (X,))
    np.testing.assert_array_equal(got["x"], GOOD)


def test_an_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", GOOD)
    np.testing.assert_array_equal(load_samples(str(tmp_path / "s.npy"), (X,))["x"], GOOD)


def test_the_array_that_fits_by_its_elements(tmp_path: Path) -> None:
    text = saved(tmp_path, labels=np.arange(5), flat=GOOD.reshape(5, 12), other=np.ones((5, 7)))
    got = load_samples(text, (X,))
    np.testing.assert_array_equal(got["x"], GOOD)


def test_the_array_with_the_inputs_name_wins(tmp_path: Path) -> None:
    text = saved(tmp_path, a=GOOD + 1, x=GOOD)
    np.testing.assert_array_equal(load_samples(text, (X,))["x"], GOOD)


def test_a_key_and_a_part(tmp_path: Path) -> None:
    wide = rng().standard_normal((6, 4, 9))
    text = saved(tmp_path, wide=wide, x=GOOD)
    got = load_samples(f"{text}:wide[1:,:,2:5]", (X,))
    np.testing.assert_array_equal(got["x"], wide[1:, :, 2:5])


def test_several_inputs_by_name(tmp_path: Path) -> None:
    other = Tensor("y", (2,))
    y = np.ones((5, 2), np.int8)
    got = load_samples(saved(tmp_path, y=y, x=GOOD), (X, other))
    assert list(got) == ["x", "y"]
    assert got["y"].dtype == np.int8
    with pytest.raises(SamplesError, match="no array 'y'") as caught:
        load_samples(saved(tmp_path, x=GOOD, z=y), (X, other))
    assert "x, y" in caught.value.fix
    with pytest.raises(SamplesError, match="different numbers"):
        load_samples(saved(tmp_path, x=GOOD, y=y[:3]), (X, other))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float64", ">f4"])
def test_types_are_kept(dtype: str, tmp_path: Path) -> None:
    x = np.ones((5, 4, 3), dtype)
    assert load_samples(saved(tmp_path, x=x), (X,))["x"].dtype == np.dtype(dtype)


def test_npy_files_are_mapped_and_checked_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcu_export.samples.CHECKED", 2)
    file = tmp_path / "x.npy"
    np.save(file, GOOD)
    loaded = load_samples(str(file), (X,))["x"]
    assert isinstance(loaded.base, np.memmap)
    np.testing.assert_array_equal(loaded, GOOD)
    np.save(file, bad_value(np.inf))
    with pytest.raises(SamplesError, match="1 samples hold NaN or infinity, the first is number 3"):
        load_samples(str(file), (X,))
    np.save(file, GOOD[:0])
    with pytest.raises(SamplesError, match="there are no samples"):
        load_samples(str(file), (X,))


def bad_value(value: float) -> np.ndarray:
    x = GOOD.copy()
    x[3, 1, 2] = value
    return x


BAD_ARRAYS = {
    "wrong shape": ({"x": np.ones((5, 4, 4))}, "a sample has the shape [4,4]"),
    "one sample without its axis": ({"x": np.ones((4, 3))}, "a sample has the shape [3]"),
    "none": ({"x": np.ones((0, 4, 3))}, "there are no samples"),
    "NaN": ({"x": bad_value(np.nan)}, "1 samples hold NaN or infinity, the first is number 3"),
    "infinity": ({"x": bad_value(-np.inf)}, "NaN or infinity"),
    "text": ({"x": np.full((5, 4, 3), "a")}, "not numbers"),
    "complex": ({"x": np.ones((5, 4, 3), complex)}, "not numbers"),
    "truth values": ({"x": np.ones((5, 4, 3), bool)}, "not numbers"),
    "dates": ({"x": np.zeros((5, 4, 3), "datetime64[s]")}, "not numbers"),
    "several": ({"a": GOOD, "b": GOOD}, "several arrays fit"),
    "nothing fits": ({"a": np.ones((5, 2)), "b": np.ones((5, 3))}, "no array fits"),
    "scalars": ({"a": np.float32(3)}, "no array fits"),
    "empty file": ({}, "no array fits"),
    "no elements at all": ({"x": np.ones((0,))}, "shape"),
}


@pytest.mark.parametrize("what", BAD_ARRAYS)
def test_arrays_that_cannot_be_used(what: str, tmp_path: Path) -> None:
    arrays, message = BAD_ARRAYS[what]
    with pytest.raises(SamplesError) as caught:
        load_samples(saved(tmp_path, **arrays), (X,))
    assert message in str(caught.value)
    assert "samples.npz" in caught.value.where


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="no array 'z'") as caught:
        load_samples(saved(tmp_path, x=GOOD, y=GOOD) + ":z", (X,))
    assert caught.value.fix == "it has x, y"


@pytest.mark.parametrize("part", ["[:,:,:,:,:]", "[:,:,:,0:1]"])
def test_a_slice_with_too_many_axes(part: str, tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="slice does not fit"):
        load_samples(saved(tmp_path, x=GOOD) + part, (X,))


# -- damaged files ----------------------------------------------------------------------------


def npz_with(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    return buffer.getvalue()


HUGE = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}")
DAMAGED = {
    "empty": b"",
    "text": b"1,2,3\n",
    "zip without end": b"PK\x03\x04" + b"\0" * 40,
    "pickle": pickled(),
    "pickle protocol": b"\x80\x04\x95",
    "pickle in npz": npz_with("x.npy", pickled()),
    "other file in npz": npz_with("readme.txt", b"hello"),
    "empty npz": npz_with("x.npy", b""),
    "header of a giant": HUGE,
    "giant in npz": npz_with("x.npy", HUGE),
    "negative shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}"),
    "no shape": npy("{'descr': '<f4'}"),
    "not a literal": npy("__import__('os').getcwd()"),
    "unknown type": npy("{'descr': 'zz', 'fortran_order': False, 'shape': (1,)}"),
    "record": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,)}"),
    "cut": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}") + b"123",
}


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_and_hostile_files(what: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(DAMAGED[what])
    with pytest.raises(SamplesError) as caught:
        load_samples(str(path), (X,))
    assert caught.value.where.startswith(str(path))


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["missing", "folder"])
def test_files_that_are_none(make: object, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    make(path)  # type: ignore[operator]
    with pytest.raises(SamplesError, match="cannot read the samples"):
        load_samples(str(path), (X,))


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("npz") / "good.npz"
    np.savez_compressed(path, x=np.zeros((5, 4, 3), np.float32), y=GOOD)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(150))
def test_random_damage_is_never_a_traceback(seed: int, compressed: bytes, tmp_path: Path) -> None:
    """Bytes flipped or cut off: the samples are read, or there is one of our errors."""
    r = np.random.default_rng(seed)
    content = bytearray(compressed)
    for _ in range(int(r.integers(1, 5))):
        content[int(r.integers(len(content)))] = int(r.integers(256))
    if seed % 3 == 0:
        del content[int(r.integers(len(content))) :]
    path = tmp_path / "s.npz"
    path.write_bytes(content)
    try:
        read_arrays(parse_source(str(path)))
    except SamplesError as error:
        assert error.where == str(path)


# -- labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        np.array([2, 0, 1]),
        np.array([2, 0, 1], np.uint8),
        np.array([[2], [0], [1]]),
        np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        np.array([[0.1, 0.0, 0.9], [1, 0, 0], [0, 0.6, 0.4]]),
        np.array([2.0, 0.0, 1.0]),
    ],
    ids=["numbers", "bytes", "column", "one-hot", "shares", "whole floats"],
)
def test_labels(labels: np.ndarray, tmp_path: Path) -> None:
    got = load_labels(saved(tmp_path, features=np.ones((3, 4, 2)), labels=labels), 3, 3)
    assert got.tolist() == [2, 0, 1]
    assert got.dtype == np.int64


BAD_LABELS = {
    "another number": {"labels": np.arange(4)},
    "several": {"a": np.arange(3), "b": np.arange(3)},
    "text": {"labels": np.array(["yes", "no", "on"])},
    "NaN": {"labels": np.array([0.0, np.nan, 1.0])},
    "fractions": {"labels": np.array([0.5, 0.2, 1.0])},
    "infinity": {"labels": np.array([0, np.inf, 2])},
    "negative": {"labels": np.array([0, -1, 2])},
    "rows without a class": {"labels": np.array([[0, 1], [0, 0], [1, 0]])},
    "rows with NaN": {"labels": np.array([[0, 1], [np.nan, 1], [1, 0]])},
    "none": {},
    "objects of three axes": {"labels": np.ones((3, 2, 2))},
}


@pytest.mark.parametrize("what", BAD_LABELS)
def test_labels_that_cannot_be_used(what: str, tmp_path: Path) -> None:
    with pytest.raises(SamplesError) as caught:
        load_labels(saved(tmp_path, **BAD_LABELS[what]), 3, 2)
    assert caught.value.exit_code == 5


def test_one_hot_labels_have_a_column_per_output(tmp_path: Path) -> None:
    text = saved(tmp_path, labels=np.eye(3))
    assert load_labels(text, 3, 3).tolist() == [0, 1, 2]
    with pytest.raises(SamplesError, match="3 classes for 5 outputs"):
        load_labels(text, 3, 5)


def test_labels_are_classes_of_the_network(tmp_path: Path) -> None:
    text = saved(tmp_path, labels=np.array([0, 4, 2]))
    assert load_labels(text, 3, 5).tolist() == [0, 4, 2]
    with pytest.raises(SamplesError, match="a label 4, and the network has 4 classes"):
        load_labels(text, 3, 4)


def test_labels_that_are_texts_are_told_from_missing_ones(tmp_path: Path) -> None:
    with pytest.raises(SamplesError) as caught:
        load_labels(saved(tmp_path, names=np.array(["yes", "no", "on"])), 3, 3)
    assert "'names' holds texts" in caught.value.fix


def test_labels_of_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(McuExportError) as caught:
        load_labels(str(tmp_path / "none.npz"), 3, 3)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "count, wanted, expected",
    [(10, 4, [0, 3, 6, 9]), (3, 10, [0, 1, 2]), (1, 1, [0]), (5, 1, [0]), (2, 2, [0, 1])],
)
def test_spread(count: int, wanted: int, expected: list[int]) -> None:
    assert spread(count, wanted).tolist() == expected
