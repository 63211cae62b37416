"""What the tests of all contracts share: data, calls, and how an accumulator becomes an output."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]

SUCCESS, ARGUMENT_ERROR, SIZE_MISMATCH = 0, -1, -3
POISON = {8: -0x5B, 16: -0x5A5B}
TYPES = {8: np.int8, 16: np.int16}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


def call(kernels: ctypes.CDLL, function: str, *arguments: Array | int | None) -> int:
    """Calls a kernel: arrays as pointers, integers as uint16_t."""
    converted = [
        argument.ctypes.data_as(ctypes.c_void_p)
        if isinstance(argument, np.ndarray)
        else ctypes.c_uint16(argument)
        if isinstance(argument, int)
        else argument
        for argument in arguments
    ]
    return int(getattr(kernels, function)(*converted))


def draw(seed: int, bits: int, *shape: int) -> Array:
    """Integers of the whole range; in q15 small enough for 32 bits."""
    largest = 127 if bits == 8 else 2047
    generator = np.random.default_rng(seed)
    return generator.integers(-largest - 1, largest, shape, endpoint=True).astype(TYPES[bits])


def finish(acc: Array, bias: Array, bits: int, bias_shift: int, out_shift: int) -> Array:
    """Bias, rounding, shift and saturation, with integers of any size."""
    total = acc + bias.astype(np.int64) * 2**bias_shift + 2**out_shift // 2
    limit = 2 ** (bits - 1)
    return np.clip(np.floor_divide(total, 2**out_shift), -limit, limit - 1).astype(TYPES[bits])
