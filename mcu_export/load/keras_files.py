"""Reading the containers of Keras files without trusting them: zip members, JSON, HDF5.

Nothing is ever extracted, unpickled or executed. Every size is checked before the bytes are
read, and an HDF5 file can lead neither to another file nor around in circles.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.ops import Array, elements

Json = dict[str, Any]

CONFIG_MEMBER = "config.json"
METADATA_MEMBER = "metadata.json"
WEIGHTS_MEMBER = "model.weights.h5"

ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS = (0, 512, 1024, 2048)  # the superblock may follow a user block

# Far above what fits a microcontroller, low enough that no file can take all memory.
MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_WEIGHTS = 16 * 1024 * 1024
MAX_CHUNK_BYTES = 64 * 1024 * 1024
MAX_JSON_BYTES = 4 * 1024 * 1024
MAX_JSON_DEPTH = 256
MAX_H5_DEPTH = 64
MAX_H5_OBJECTS = 100_000

SAVE_AGAIN = "save the model again with model.save(); the file may be truncated or damaged"


def is_zip(path: Path) -> bool:
    """Whether the file starts as a Keras v3 archive does, even if the rest is missing."""
    head = _head(path, 4096)
    if not head.startswith(ZIP_MAGIC):
        return False
    if CONFIG_MEMBER.encode() in head or METADATA_MEMBER.encode() in head:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return CONFIG_MEMBER in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def is_hdf5(path: Path) -> bool:
    """Whether the signature of HDF5 stands where it may."""
    head = _head(path, HDF5_OFFSETS[-1] + len(HDF5_MAGIC))
    return any(head[at : at + len(HDF5_MAGIC)] == HDF5_MAGIC for at in HDF5_OFFSETS)


def _head(path: Path, size: int) -> bytes:
    try:
        if not path.is_file():  # opening a pipe would wait for somebody to write to it
            return b""
        with path.open("rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return b""


def require_readable(path: Path) -> None:
    """Raise ``ModelFileError`` for a file that is missing, empty, too big or not a file."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(
            f"cannot read the file: {error.strerror or error}",
            where=str(path),
            fix="check the path and its permissions",
        ) from error
    if not path.is_file():
        raise ModelFileError("not a file", where=str(path), fix="give the path of a model file")
    if size == 0:
        raise ModelFileError("the file is empty", where=str(path), fix=SAVE_AGAIN)
    if size > MAX_FILE_BYTES:
        raise ModelFileError(
            f"the file has {size} bytes, the limit is {MAX_FILE_BYTES}",
            where=str(path),
            fix="a network of this size does not fit a microcontroller",
        )


def read_member(archive: zipfile.ZipFile, name: str, limit: int, where: str) -> bytes:
    """One member of a zip archive, unpacked in memory; its declared size is checked first."""
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise ModelFileError(
            f"the archive has no {name}",
            where=where,
            fix="save the whole model with model.save('name.keras')",
        ) from error
    if info.file_size > limit:
        raise ModelFileError(
            f"{name} unpacks to {info.file_size} bytes, the limit is {limit}", where=where
        )
    with damage_reported(where):
        return archive.read(info)


def parse_json(text: str | bytes, where: str) -> Json:
    """A JSON object of bounded size and depth."""
    if len(text) > MAX_JSON_BYTES:
        raise ModelFileError("the configuration is too long", where=where)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"the configuration is no valid JSON: {error}", where=where, fix=SAVE_AGAIN
        ) from error
    if not isinstance(value, dict):
        raise ModelFileError("the configuration is no JSON object", where=where, fix=SAVE_AGAIN)
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise ModelFileError("the configuration is nested too deeply", where=where)
    return value


@contextmanager
def damage_reported(where: str) -> Iterator[None]:
    """Turn what zipfile and h5py raise on damaged files into a ``ModelFileError``."""
    try:
        yield
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        NotImplementedError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ModelFileError(
            f"the file is damaged: {str(error) or type(error).__name__}",
            where=where,
            fix=SAVE_AGAIN,
        ) from error


class Hdf5Store:
    """The datasets and attributes of an HDF5 file by path, with ``/`` between the parts.

    Only hard links are followed. A soft or external link, and a dataset whose values stand in
    another file, end with an error.
    """

    def __init__(self, source: Path | bytes, where: str) -> None:
        self.where = where
        self._datasets: dict[str, Any] = {}
        self._groups: dict[str, Any] = {}
        self._children: dict[str, list[str]] = {}
        self._cache: dict[str, Array] = {}
        self._elements = 0
        with damage_reported(where):
            self._file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
            self._walk()

    def close(self) -> None:
        """Close the file; what was read stays valid."""
        self._file.close()

    def __enter__(self) -> Hdf5Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _walk(self) -> None:
        waiting: list[tuple[str, Any, int]] = [("", self._file, 0)]
        while waiting:
            path, group, depth = waiting.pop()
            self._groups[path] = group
            for key in group:
                child_path = f"{path}/{key}".lstrip("/").replace("\\", "/")
                self._check_link(group, key, child_path, depth)
                child = group[key]
                parent, _, tail = child_path.rpartition("/")
                self._children.setdefault(parent, []).append(tail)
                if isinstance(child, h5py.Group):
                    waiting.append((child_path, child, depth + 1))
                elif isinstance(child, h5py.Dataset):
                    self._datasets[child_path] = child

    def _check_link(self, group: Any, key: str, path: str, depth: int) -> None:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise self.error(f"{path!r} is a link to elsewhere; such links are not followed")
        objects = len(self._groups) + len(self._datasets)
        if depth >= MAX_H5_DEPTH or objects >= MAX_H5_OBJECTS:
            raise self.error(f"the groups are nested too deeply or are too many, at {path!r}")

    def error(self, what: str) -> ModelFileError:
        """A ``ModelFileError`` about this file."""
        return ModelFileError(what, where=self.where, fix=SAVE_AGAIN)

    def groups(self) -> Iterator[str]:
        """Paths of all groups; the root is the empty path."""
        return iter(self._groups)

    def has_group(self, path: str) -> bool:
        """Whether there is a group of that path."""
        return path in self._groups

    def children(self, path: str) -> list[str]:
        """Names of the groups and datasets directly in a group."""
        return self._children.get(path, [])

    def attribute(self, path: str, name: str) -> str | None:
        """A text attribute of a group; None where there is none."""
        with damage_reported(self.where):
            value = self._groups[path].attrs.get(name)
        return None if value is None else self._text(value, name)

    def names(self, path: str, name: str) -> list[str]:
        """A list-of-texts attribute, which Keras splits into ``name0``, ``name1`` if it is long."""
        with damage_reported(self.where):
            attributes = self._groups[path].attrs
            parts = [name] if name in attributes else []
            while parts[:1] != [name] and f"{name}{len(parts)}" in attributes:
                parts.append(f"{name}{len(parts)}")
            if any(elements(attributes.get_id(part).shape) > MAX_H5_OBJECTS for part in parts):
                raise self.error(f"attribute {name!r} has too many entries")
            values = [value for part in parts for value in np.ravel(attributes[part])]
        return [self._text(value, name) for value in values]

    def _text(self, value: object, name: str) -> str:
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise self.error(f"attribute {name!r} is no text")
        return value

    def array(self, path: str) -> Array:
        """A dataset as float32; refused where it is too big or its values stand elsewhere."""
        if path in self._cache:
            return self._cache[path]
        if path not in self._datasets:
            raise self.error(f"the weights {path!r} are missing")
        dataset = self._datasets[path]
        with damage_reported(self.where):
            if dataset.external or dataset.is_virtual:
                raise self.error(f"the values of {path!r} stand in another file")
            if dataset.shape is None:
                raise self.error(f"the weights {path!r} are empty")
            self._elements += elements(dataset.shape)
            chunk = elements(dataset.chunks or ()) * dataset.dtype.itemsize
            if self._elements > MAX_WEIGHTS or chunk > MAX_CHUNK_BYTES:
                raise self.error(f"more than {MAX_WEIGHTS} weights, at {path!r}")
            value = to_float32(dataset)
        if value is None:
            raise self.error(f"the weights {path!r} are of type {dataset.dtype}, not float")
        self._cache[path] = value
        return value


def to_float32(dataset: Any) -> Array | None:
    """The values of a dataset as float32; None for a type that no trained weight has.

    Keras writes bfloat16 as two opaque bytes: they are the upper half of a float32.
    """
    kind, size = dataset.dtype.kind, dataset.dtype.itemsize
    if kind == "V" and size == 2 and dataset.dtype.names is None:
        upper = np.asarray(dataset[()]).view(np.uint16).astype(np.uint32)
        return (upper << 16).view(np.float32)
    if kind != "f":
        return None
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which the builder refuses
        return np.asarray(dataset[()], np.float32)
