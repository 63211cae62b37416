"""Reading the containers of Keras files without trusting them: zip members, JSON, HDF5.

Nothing is ever extracted, unpickled or executed. Every size is checked before the bytes are
read, and an HDF5 file can lead neither to another file nor around in circles.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.loaders.hdf5.reader import MAGIC, OFFSETS
from mcu_export.loaders.hdf5.types import Hdf5Error

Json = dict[str, Any]

CONFIG_MEMBER = "config.json"
METADATA_MEMBER = "metadata.json"
WEIGHTS_MEMBER = "model.weights.h5"

ZIP_MAGIC = b"PK\x03\x04"
# Far above what fits a microcontroller, low enough that no file can take all memory.
MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_JSON_BYTES = 4 * 1024 * 1024
MAX_JSON_DEPTH = 256

SAVE_SMALLER = (
    "networks for a microcontroller are smaller; if the optimizer takes the space, save without "
    "it: keras.models.load_model(path, compile=False).save(path)"
)
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
    head = _head(path, OFFSETS[-1] + len(MAGIC))
    return any(head[at : at + len(MAGIC)] == MAGIC for at in OFFSETS)


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
            fix=SAVE_SMALLER,
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
            f"{name} unpacks to {info.file_size} bytes, the limit is {limit}",
            where=where,
            fix=SAVE_SMALLER,
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
    """Turn what is raised on damaged files into a ``ModelFileError``."""
    try:
        yield
    except Hdf5Error as error:
        raise ModelFileError(str(error), where=where, fix=SAVE_AGAIN) from error
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ModelFileError(
            f"the file is damaged: {str(error) or type(error).__name__}",
            where=where,
            fix=SAVE_AGAIN,
        ) from error
