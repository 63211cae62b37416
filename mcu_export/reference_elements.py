"""The oracle for layers that work element by element, and for joining tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mcu_export.graph import Node
from mcu_export.ops import Array, Concatenate, Multiply, Op, PRelu
from mcu_export.ops.binary import operand_arrays
from mcu_export.schemes.element_arithmetic import (
    Combine,
    Interpolate,
    Join,
    Lookup,
    Product,
    Slopes,
)
from mcu_export.schemes.power_of_two_elements import FUNCTIONS, HOW

Layer = Callable[[Node, Any, list[Array], Mapping[str, Array]], Array]


def shift_left(x: Array, shift: int) -> Array:
    """``x << shift``; a negative shift is a right shift that rounds half up."""
    return x << shift if shift >= 0 else shift_right(x, -shift)


def shift_right(x: Array, shift: int) -> Array:
    """``(x + ((1 << shift) >> 1)) >> shift``."""
    return (x + ((1 << shift) >> 1)) >> shift


def _function(
    node: Node, a: Lookup | Interpolate, inputs: list[Array], params: Mapping[str, Array]
) -> Array:
    table = np.array(a.table, np.int64)
    (x,) = inputs
    if isinstance(a, Lookup):
        found: Array = table[x + 128]
        return found
    unsigned = x + 32768
    index, rest = unsigned >> 7, unsigned & 127
    between: Array = (table[index] * (128 - rest) + table[index + 1] * rest + 64) >> 7
    return between


_COMBINE: dict[str, Callable[[Array, Array], Array]] = {
    "plus": np.add,
    "minus": np.subtract,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _combine(node: Node, a: Combine, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    first, second = operand_arrays(inputs, params)
    first, second = shift_left(first, a.shifts[0]), shift_left(second, a.shifts[1])
    if getattr(node.op, "swapped", False):
        first, second = second, first
    acc = _COMBINE[a.how](first, second)
    out: Array = np.clip(shift_right(acc, a.out_shift), a.low, a.high)
    return out


def _product(node: Node, a: Product, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    first, second = operand_arrays(inputs, params)
    out: Array = np.clip(shift_right(first * second, a.out_shift), a.low, a.high)
    return out


def _slopes(node: Node, a: Slopes, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    (x,) = inputs
    acc = np.where(x >= 0, x << a.slope_frac_bits, x * params["alpha"])
    out: Array = np.clip(shift_right(acc, a.out_shift), a.low, a.high)
    return out


def _join(node: Node, a: Join, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    shifted = [shift_left(x, shift) for x, shift in zip(inputs, a.shifts, strict=True)]
    out: Array = np.clip(node.op.compute(shifted, {}), a.low, a.high)
    return out


ELEMENT_LAYERS: dict[type[Op], Layer] = {
    **dict.fromkeys(FUNCTIONS, _function),
    **dict.fromkeys(HOW, _combine),
    Multiply: _product,
    PRelu: _slopes,
    Concatenate: _join,
}
