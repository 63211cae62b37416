"""The reader of HDF5 files against h5py, which writes them in all versions of the format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mcu_export.errors import ModelFileError
from mcu_export.loaders.keras.store import Hdf5Store

VERSIONS = ["earliest", "v108", "v110", "latest"]


def written(libver: str, fill: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w", libver=libver, **options) as file:
        fill(file)
    return content.getvalue()


def stored(libver: str, fill: Any, **options: Any) -> Hdf5Store:
    return Hdf5Store(written(libver, fill, **options), "a.h5")


def fill_tree(file: Any, groups: int = 3, members: int = 4, depth: int = 3, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for number in range(members):
        shape = tuple(random.integers(0, 5, int(random.integers(0, 4))))
        file[f"array {number}"] = random.standard_normal(shape).astype(np.float32)
    for number in range(groups if depth else 0):
        fill_tree(file.create_group(f"größe_{number}"), groups, members, depth - 1, seed + number)


def check_same(content: bytes) -> int:
    """Compare groups, members and values with what h5py reads; returns the number of arrays."""
    store = Hdf5Store(content, "a.h5")
    arrays: dict[str, np.ndarray] = {}
    groups = {""}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            groups.add(name)
        else:
            arrays[name] = item[()]

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(visit)
        assert sorted(store.children("")) == sorted(file)
    assert set(store.groups()) == groups
    for name, wanted in arrays.items():
        got = store.array(name)
        assert got.dtype == np.float32
        assert np.array_equal(got, np.asarray(wanted, np.float32))
    return len(arrays)


@pytest.mark.parametrize("libver", VERSIONS)
def test_groups_in_groups(libver):
    assert check_same(written(libver, fill_tree)) == 4 * (1 + 3 + 9 + 27)


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("members", [8, 9, 60, 700])
def test_groups_with_many_members(libver, members):
    content = written(libver, lambda file: fill_tree(file, members=members, depth=0))
    assert check_same(content) == members


@pytest.mark.parametrize("libver", VERSIONS)
def test_members_in_the_order_of_their_creation(libver):
    assert check_same(
        written(libver, lambda f: fill_tree(f, members=30, depth=1), track_order=True)
    )


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("size", [512, 2048])
def test_a_user_block_before_the_file(libver, size):
    assert check_same(written(libver, fill_tree, userblock_size=size)) > 100


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_float_types(libver, dtype):
    values = np.random.default_rng(1).standard_normal((3, 4)).astype(dtype)
    store = stored(libver, lambda file: file.__setitem__("x", values))
    assert np.array_equal(store.array("x"), values.astype("<f4"))


@pytest.mark.parametrize("libver", VERSIONS)
def test_values_inside_of_the_header(libver):
    values = np.arange(6, dtype=np.float32)

    def fill(file: Any) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((6,))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, plist)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)

    assert np.array_equal(stored(libver, fill).array("x"), values)


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("count", [3, 30, 900])
def test_attributes(libver, count):
    texts = [f"layer_{number}/größe:0" for number in range(count)]

    def fill(file: Any) -> None:
        group = file.create_group("g")
        group.attrs["one"] = "text"
        group.attrs["bytes"] = b"bytes"
        group.attrs["fixed"] = np.bytes_(b"fixed text")
        group.attrs["variable"] = texts
        group.attrs["none"] = np.zeros(0)
        group.attrs["number"] = 7
        for start in range(0, count, 300):
            some = [text.encode() for text in texts[start : start + 300]]
            group.attrs[f"split{start // 300}"] = np.asarray(some)

    store = stored(libver, fill)
    assert [store.attribute("g", name) for name in ("one", "bytes", "fixed", "missing")] == [
        "text",
        "bytes",
        "fixed text",
        None,
    ]
    assert store.names("g", "variable") == texts
    assert store.names("g", "split") == texts
    assert store.names("g", "none") == []
    with pytest.raises(ModelFileError, match="no text"):
        store.attribute("g", "number")
    with pytest.raises(ModelFileError, match="not one text"):
        store.attribute("g", "variable")


@pytest.mark.parametrize("libver", VERSIONS)
def test_many_attributes_of_one_group(libver):
    def fill(file: Any) -> None:
        for number in range(200):
            file.attrs[f"names{number}"] = np.asarray([f"weight {number}".encode()])

    assert stored(libver, fill).names("", "names") == [f"weight {n}" for n in range(200)]


def test_names_after_changes(tmp_path: Path):
    """Deleted and rewritten members leave holes in the file."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        fill_tree(file, members=40, depth=1)
    with h5py.File(path, "r+") as file:
        for number in range(0, 40, 3):
            del file[f"array {number}"]
        file["größe_1/new"] = np.ones(3, np.float32)
        del file["größe_0"]
    assert check_same(path.read_bytes()) == 26 + 41 + 40


@pytest.mark.parametrize("libver", VERSIONS)
def test_what_is_not_supported_is_named(libver):
    def fill(file: Any) -> None:
        values = np.ones((8, 8), np.float32)
        file.create_dataset("packed", data=values, chunks=(4, 4), compression="gzip")
        file["integers"] = np.ones(3, np.int32)
        file["texts"] = ["a", "b"]
        file["records"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        file["empty"] = h5py.Empty("f")

    store = stored(libver, fill)
    for name, says in {
        "packed": "compressed",
        "integers": "integer",
        "texts": "text",
        "records": "compound",
        "empty": "empty",
        "missing": "missing",
    }.items():
        with pytest.raises(ModelFileError, match=says):
            store.array(name)


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links_are_not_followed(libver, kind):
    link = h5py.SoftLink("/x") if kind == "soft" else h5py.ExternalLink("b.h5", "/x")
    with pytest.raises(ModelFileError, match="not followed"):
        stored(libver, lambda file: file.create_group("g").__setitem__("link", link))


@pytest.mark.parametrize("libver", VERSIONS)
def test_circles_end(libver):
    def fill(file: Any) -> None:
        file["g/h/up"] = file["g"] if "g" in file else file.create_group("g")

    with pytest.raises(ModelFileError, match="nested too deeply"):
        stored(libver, fill)


@pytest.mark.parametrize("libver", VERSIONS)
def test_damaged_bytes(libver):
    """Whatever changes, it ends soon, in an error of ours or with the file read."""
    whole = written(libver, lambda file: fill_tree(file, groups=2, members=12, depth=1))
    random = np.random.default_rng(7)
    errors = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), int(random.integers(1, 12))):
            damaged[place] = int(random.integers(256))
        end = len(whole) if random.integers(3) else int(random.integers(len(whole)))
        try:
            store = Hdf5Store(bytes(damaged[:end]), "a.h5")
            for name in store.children(""):
                if not store.has_group(name):
                    store.array(name)
        except ModelFileError:
            errors += 1
    assert errors > 50
