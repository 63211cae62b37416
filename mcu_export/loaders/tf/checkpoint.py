"""TensorFlow checkpoints (``.index`` and ``.data-00000-of-00001``), read and written as data.

Format: TensorFlow's ``tensor_bundle.proto``. The index is a sorted table from the names of the
variables to where their bytes are; the empty name has the header.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.loaders.base import MAX_FILE_BYTES
from mcu_export.loaders.tf.crc32c import masked_crc32c
from mcu_export.loaders.tf.nodes import DTYPES, bounded
from mcu_export.loaders.tf.protos import new, parse, read_bytes
from mcu_export.loaders.tf.sstable import is_table, read_table, write_table
from mcu_export.ops import Array

_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_MAX_SHARDS = 1000
_LITTLE_ENDIAN = 0


def checkpoint_prefix(path: Path) -> Path:
    """What the names of a checkpoint's files have in common: without .index, .meta or .data-..."""
    return path.with_name(_SUFFIX.sub("", path.name))


def is_checkpoint(path: Path) -> bool:
    """Whether ``path``, a prefix or any file of it, is a checkpoint, judged by its index."""
    index = _index_path(checkpoint_prefix(path))
    return (
        index.is_file() and index.stat().st_size <= MAX_FILE_BYTES and is_table(read_bytes(index))
    )


def read_checkpoint(path: Path) -> dict[str, Array]:
    """All numeric variables of the checkpoint by name, checksums verified.

    Args:
        path: the prefix, or any file of the checkpoint. Text, such as the object graph of
            TensorFlow 2, is left out.

    Raises:
        ModelFileError: a file is missing, cut off or damaged, or is in an unsupported layout.
    """
    prefix = checkpoint_prefix(path)
    index = _index_path(prefix)
    entries = read_table(read_bytes(index), index.name)
    header = parse("BundleHeaderProto", entries.pop(b"", b""), index.name)
    if header.endianness != _LITTLE_ENDIAN or not 1 <= header.num_shards <= _MAX_SHARDS:
        raise ModelFileError("is big-endian, or has an implausible header", where=index.name)
    shards: dict[int, bytes] = {}
    tensors: dict[str, Array] = {}
    elements = 0
    for key, value in entries.items():
        where = f"{index.name}: {key.decode('utf-8', 'replace')!r}"
        entry = parse("BundleEntryProto", value, where)
        if entry.shard_id not in shards:
            shards[entry.shard_id] = _read_shard(prefix, entry.shard_id, header.num_shards, where)
        content = _content(entry, shards[entry.shard_id], where)
        if entry.dtype not in DTYPES:
            continue
        array = _tensor(entry, content, where)
        elements += array.size
        bounded([elements], where)
        tensors[key.decode("utf-8", "replace")] = array
    return tensors


def write_checkpoint(prefix: Path, tensors: Mapping[str, Array]) -> tuple[Path, Path]:
    """Write a checkpoint that TensorFlow restores; returns the paths of index and data.

    Args:
        prefix: path without ``.index``.
        tensors: values by the name of the variable.

    Raises:
        ModelFileError: the data type of a tensor is none that a checkpoint has here.
    """
    codes = {dtype: code for code, (dtype, _) in DTYPES.items()}
    header = new("BundleHeaderProto")
    header.num_shards = 1
    header.version.producer = 1
    entries = {b"": header.SerializeToString()}
    data = bytearray()
    for name, tensor in sorted(tensors.items()):
        array = np.asarray(tensor)
        array = array.astype(array.dtype.newbyteorder("<"))
        if array.dtype not in codes:
            raise ModelFileError(f"cannot store the data type {array.dtype}", where=name)
        content = array.tobytes()
        entry = new("BundleEntryProto")
        entry.dtype = codes[array.dtype]
        entry.shape.SetInParent()
        for size in array.shape:
            entry.shape.dim.add(size=size)
        entry.offset, entry.size = len(data), len(content)
        entry.crc32c = masked_crc32c(content)
        entries[name.encode()] = entry.SerializeToString(deterministic=True)
        data += content
    shard, index = _shard_path(prefix, 0, 1), _index_path(prefix)
    shard.write_bytes(data)
    index.write_bytes(write_table(entries))
    return index, shard


def _index_path(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _shard_path(prefix: Path, shard: int, shards: int) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")


def _read_shard(prefix: Path, shard: int, shards: int, where: str) -> bytes:
    if not 0 <= shard < shards:
        raise ModelFileError(f"is in part {shard} of {shards}", where=where)
    return read_bytes(_shard_path(prefix, shard, shards))


def _content(entry: Any, shard: bytes, where: str) -> bytes:
    """The bytes of the entry; those of a variable in slices are in entries of their own."""
    if min(entry.offset, entry.size) < 0 or entry.offset + entry.size > len(shard):
        raise ModelFileError("the data of the checkpoint is cut off", where=where)
    return shard[entry.offset : entry.offset + entry.size]


def _tensor(entry: Any, content: bytes, where: str) -> Array:
    if entry.slices:
        raise ModelFileError(
            "is stored in slices, which is not supported",
            where=where,
            fix="save the variable without a partitioner",
        )
    dtype, _ = DTYPES[entry.dtype]
    shape = bounded([dim.size for dim in entry.shape.dim], where)
    if entry.size != math.prod(shape) * dtype.itemsize:
        raise ModelFileError(f"{entry.size} bytes do not fit the shape {shape}", where=where)
    if masked_crc32c(content) != entry.crc32c:
        raise ModelFileError("the data of the checkpoint is damaged (checksum)", where=where)
    return np.frombuffer(content, dtype).reshape(shape)
