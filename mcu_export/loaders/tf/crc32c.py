"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), masked as TensorFlow stores it, in numpy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_Words = npt.NDArray[np.uint32]
_POLYNOMIAL = np.uint32(0x82F63B78)  # reflected
_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8


def _byte_table() -> _Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * _POLYNOMIAL
    return table


_TABLE = _byte_table()


def crc32c(data: bytes) -> int:
    """The checksum of ``data``.

    The register is linear over GF(2), so the bytes are cut into lanes that advance together; the
    lanes are then joined pairwise by the operator that advances a register over a lane of zeros.
    """
    lanes = 1 << max(0, int(math.log2(len(data) + 1)) // 2)
    length = -(-len(data) // lanes)
    if length < 4:
        lanes, length = 1, len(data)
    padded = np.zeros(lanes * length, np.uint8)  # zeros in front leave a register of 0 alone
    padded[lanes * length - len(data) :] = np.frombuffer(data, np.uint8)
    columns = np.ascontiguousarray(padded.reshape(lanes, length).T)
    registers = np.zeros(lanes, np.uint32)
    for column in columns:
        registers = _advance(registers, column)
    operator = _zeros_operator(length)
    while len(registers) > 1:
        registers = _apply(operator, registers[0::2]) ^ registers[1::2]
        operator = _apply(operator, operator)
    initial = _apply(_zeros_operator(len(data)), np.asarray([_ONES], np.uint32))
    return int(registers[0] ^ initial[0]) ^ _ONES


def masked_crc32c(data: bytes) -> int:
    """The checksum, rotated and offset, as TensorFlow and LevelDB store it beside the data."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ONES


def _advance(registers: _Words, column: npt.NDArray[np.uint8] | int) -> _Words:
    """The registers after one byte each."""
    advanced: _Words = _TABLE[(registers ^ column) & 0xFF] ^ (registers >> np.uint32(8))
    return advanced


def _zeros_operator(count: int) -> _Words:
    """For each bit of a register, the register after ``count`` zero bytes; by squaring."""
    step = _advance(np.uint32(1) << np.arange(32, dtype=np.uint32), 0)
    total = np.uint32(1) << np.arange(32, dtype=np.uint32)
    while count:
        if count & 1:
            total = _apply(step, total)
        step = _apply(step, step)
        count >>= 1
    return total


def _apply(operator: _Words, registers: _Words) -> _Words:
    result = np.zeros(len(registers), np.uint32)
    for bit, image in enumerate(operator):
        result ^= ((registers >> np.uint32(bit)) & np.uint32(1)) * image
    return result
