"""Weights of 4 bits, two in a byte, the first in the low half: as TensorFlow Lite and CMSIS-NN."""

from __future__ import annotations

import numpy as np

from mcu_export.ops.base import Array

NIBBLE = 4  # bits


def pack_nibbles(weights: Array) -> Array:
    """Bytes, as int8, of integers from -8 to 7 in their order; an odd last one stands alone."""
    halves = np.zeros(weights.size + weights.size % 2, np.int64)
    halves[: weights.size] = weights.ravel() & 15
    return (halves[0::2] | halves[1::2] << 4).astype(np.uint8).view(np.int8).astype(np.int64)


def unpack_nibbles(packed: Array, count: int) -> Array:
    """The first ``count`` integers, int8, of bytes that :func:`pack_nibbles` made."""
    given = packed.astype(np.uint8)
    halves = np.stack([given & 15, given >> 4], axis=-1).ravel()[:count]
    integers: Array = ((halves ^ 8).astype(np.int8) - 8).astype(np.int8)
    return integers
