"""Sorted string tables, as LevelDB describes them: the ``.index`` file of a checkpoint.

A table is blocks of (key, value) and a footer that tells where the block of blocks is. Format:
LevelDB's ``table_format.md``; TensorFlow's checkpoints use it without compression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.crc32c import masked_crc32c

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_MAX_VARINT_BYTES = 10


def is_table(data: bytes) -> bool:
    """Whether the bytes end as a table does."""
    return len(data) >= _FOOTER_BYTES and data[-8:] == struct.pack("<Q", _MAGIC)


def read_table(data: bytes, source: str) -> dict[bytes, bytes]:
    """All entries of the table.

    Raises:
        ModelFileError: no table, a damaged one, or one that is compressed.
    """
    if not is_table(data):
        raise ModelFileError("is no checkpoint index, or cut off", where=source)
    try:
        meta_index, position = _handle(data, len(data) - _FOOTER_BYTES)
        index, _ = _handle(data, position)
        _block(data, meta_index, source)
        entries: dict[bytes, bytes] = {}
        for _, value in _entries(_block(data, index, source)):
            block, _ = _handle(value, 0)
            entries.update(_entries(_block(data, block, source)))
    except (IndexError, ValueError, struct.error) as error:
        raise ModelFileError(f"the checkpoint index is damaged: {error}", where=source) from error
    return entries


def write_table(entries: Mapping[bytes, bytes]) -> bytes:
    """The table of these entries: one block, every key in full."""
    out = bytearray()
    handles = []
    blocks = [sorted(entries.items()), []]
    for block in blocks:
        handles.append(_append_block(out, _encode_block(block)))
    data_block, meta_index = handles
    index = _encode_block([(max(entries, default=b""), data_block)])
    footer = meta_index + _append_block(out, index)
    out += footer.ljust(_FOOTER_BYTES - 8, b"\0") + struct.pack("<Q", _MAGIC)
    return bytes(out)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        byte = data[position + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise ValueError("a number is too long")


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position behind them."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _block(data: bytes, handle: tuple[int, int], source: str) -> bytes:
    offset, size = handle
    end = offset + size
    if end + _TRAILER_BYTES > len(data):
        raise ModelFileError("the checkpoint index is cut off", where=source)
    kind, checksum = struct.unpack_from("<BI", data, end)
    if kind != 0:
        raise ModelFileError(f"the checkpoint index is compressed (type {kind})", where=source)
    if checksum != masked_crc32c(data[offset : end + 1]):
        raise ModelFileError("the checkpoint index is damaged (checksum)", where=source)
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        size, position = _varint(block, position)
        if shared > len(key) or position + unshared + size > end:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size


def _encode_block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, restarts = bytearray(), []
    for key, value in entries:
        restarts.append(len(out))
        out += _encode_varint(0) + _encode_varint(len(key)) + _encode_varint(len(value))
        out += key + value
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts)}II", *restarts, len(restarts))


def _append_block(out: bytearray, block: bytes) -> bytes:
    """Append block and trailer; returns the encoded handle."""
    handle = _encode_varint(len(out)) + _encode_varint(len(block))
    kind = b"\0"
    out += block + kind + struct.pack("<I", masked_crc32c(block + kind))
    return handle
