"""The bit-exact oracle of the affine schemes: one function per kind of arithmetic, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mcu_export.graph import Node
from mcu_export.ops import UNLIMITED, Array, Maximum, Pad
from mcu_export.ops.binary import operand_arrays
from mcu_export.ops.windows import pad_image
from mcu_export.schemes.affine_arithmetic import (
    Curve,
    ExpShare,
    ExpShareWide,
    Fill,
    Requantize,
    Scaled,
    ScaledJoin,
    ScaledMean,
    ScaledProduct,
    ScaledSelect,
    ScaledSlopes,
    ScaledSum,
    TimeSum,
    TwoSlopes,
)
from mcu_export.schemes.affine_functions import curve_table
from mcu_export.schemes.fixed_point import divide_by_power, high_mul, reciprocal, rescale

Layer = Callable[[Node, Any, list[Array], Mapping[str, Array]], Array]
EXACT_FLOAT32 = 2**24


def _finish(value: Array, a: Any) -> Array:
    """Output offset and saturation."""
    out: Array = np.clip(value + a.output_offset, a.low, a.high)
    return out


def _scaled(node: Node, a: Scaled, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    """The float op on integers without zero point, exact by the proven bound; then rescaled."""
    dtype = np.float32 if a.bound < EXACT_FLOAT32 else np.float64
    linear = replace(node.op, limits=UNLIMITED)  # type: ignore[call-arg]
    constants = {role: array.astype(dtype) for role, array in params.items()}
    acc = linear.compute([(inputs[0] + a.input_offset).astype(dtype)], constants)
    scaled = rescale(acc.astype(np.int64), np.array(a.multipliers), np.array(a.shifts), a.rounding)
    return _finish(scaled, a)


def _sum(node: Node, a: ScaledSum, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    first, second = operand_arrays(inputs, params)
    if getattr(node.op, "swapped", False):
        first, second = second, first
    parts = [
        rescale((x + offset) << a.left_shift, multiplier, shift, "double")
        for x, offset, multiplier, shift in zip(
            (first, second), a.offsets, a.multipliers, a.shifts, strict=False
        )
    ]
    total = parts[0] + a.sign * parts[1]
    return _finish(rescale(total, a.multipliers[2], a.shifts[2], "double"), a)


def _product(
    node: Node, a: ScaledProduct, inputs: list[Array], params: Mapping[str, Array]
) -> Array:
    first, second = operand_arrays(inputs, params)
    product = (first + a.offsets[0]) * (second + a.offsets[1])
    return _finish(rescale(product, a.multiplier, a.shift, "double"), a)


def _mean(node: Node, a: ScaledMean, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    total = inputs[0].sum(axis=(1, 2)) + a.input_offset
    return _finish(rescale(total, a.multiplier, a.shift, "double"), a)


def _requantize(
    node: Node, a: Requantize, inputs: list[Array], params: Mapping[str, Array]
) -> Array:
    return _finish(rescale(inputs[0] + a.input_offset, a.multiplier, a.shift, "double"), a)


def _join(node: Node, a: ScaledJoin, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    parts = [
        x if part is None else _requantize(node, part, [x], params)
        for x, part in zip(inputs, a.parts, strict=True)
    ]
    return node.op.compute(parts, params)


def _fill(node: Node, a: Fill, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    op = node.op
    assert isinstance(op, Pad)
    return pad_image(inputs[0], op.padding, a.value)


def _share(node: Node, a: ExpShare, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    below = inputs[0].max(axis=-1, keepdims=True) - inputs[0]
    exps = np.array([*a.exps, 0], np.int64)[np.minimum(below, len(a.exps))]
    total = divide_by_power(exps, 12).sum(axis=-1, keepdims=True)
    # The sum is 2^over * (1 + x) with x in [0, 1); shifted up by its free bits it is 1 + x in
    # Q1.31 of 32 bits without sign.
    over = np.frexp(total.astype(np.float64))[1].astype(np.int64) - 20
    inverse = reciprocal((total << (12 - over)) - (1 << 31))
    share = divide_by_power(high_mul(inverse, exps), over + 23)
    out: Array = np.clip(share - 128, a.low, a.high)
    return np.where(below < len(a.exps), out, a.low)


def interpolate(table: Array, value: Array) -> Array:
    """Between points of a table of 513 for 16-bit ``value``: 128 steps from point to point."""
    index = 256 + (value >> 7)
    base = table[index]
    out: Array = base + (((table[index + 1] - base) * (value & 127) + 64) >> 7)
    return out


def _share_wide(
    node: Node, a: ExpShareWide, inputs: list[Array], params: Mapping[str, Array]
) -> Array:
    below = inputs[0] - inputs[0].max(axis=-1, keepdims=True)
    argument = rescale(below, a.multiplier, a.shift, "double") + 32767
    exps = interpolate(np.array(a.exp_table, np.int64), np.clip(argument, -32768, 32767))
    total = exps.sum(axis=-1, keepdims=True)
    bits = np.frexp(total.astype(np.float64))[1].astype(np.int64)
    shifted = ((total << (31 - bits)) + (1 << 13)) >> 14
    point = np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767)
    inverse = interpolate(np.array(a.reciprocal_table, np.int64), point)
    right = bits - 1
    share = (exps * inverse + (np.int64(1) << (right - 1))) >> right
    out: Array = np.clip(share, a.low, a.high)
    return out


def _curve(node: Node, a: Curve, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    table = np.array([*curve_table(), 0], np.int64)
    x = (inputs[0] * a.multiplier + ((1 << a.shift) >> 1)) >> a.shift
    bits = 8 if a.tanh else 9
    index = np.minimum(np.abs(x) >> bits, 255)
    rest = np.abs(x) & ((1 << bits) - 1)
    curve = (table[index] << bits) + rest * (table[index + 1] - table[index])
    if a.tanh:
        curve = np.where(index >= 255, 0xFFFF << 8, curve)
        positive, negative = curve - (1 << 23) + (1 << 7), -curve + (1 << 23) + (1 << 7) - 1
        return np.where(x >= 0, positive, negative) >> 8
    curve = np.where(index >= 255, 0x7FFF << 10, curve)
    return np.where(x >= 0, curve + (1 << 9), (1 << 25) - curve + (1 << 9) - 1) >> 10


def _two_slopes(
    node: Node, a: TwoSlopes, inputs: list[Array], params: Mapping[str, Array]
) -> Array:
    x = inputs[0] + a.input_offset
    positive, negative = (
        rescale(x, multiplier, shift, "double")
        for multiplier, shift in zip(a.multipliers, a.shifts, strict=True)
    )
    return _finish(np.where(x >= 0, positive, negative), a)


def _select(node: Node, a: ScaledSelect, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    first, second = (
        x if part is None else _requantize(node, part, [x], params)
        for x, part in zip(operand_arrays(inputs, params), a.parts, strict=True)
    )
    larger = isinstance(node.op, Maximum)
    chosen = np.maximum(first, second) if larger else np.minimum(first, second)
    out: Array = np.clip(chosen, a.low, a.high)
    return out


def _slopes(node: Node, a: ScaledSlopes, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    x = inputs[0] + a.input_offset
    sloped = x * (params["alpha"] + a.slope_offset)
    positive, negative = (
        rescale(value, multiplier, shift, "double")
        for value, multiplier, shift in zip((x, sloped), a.multipliers, a.shifts, strict=True)
    )
    return _finish(np.where(x >= 0, positive, negative), a)


def _time_sum(node: Node, a: TimeSum, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    acc = np.clip(node.op.compute(inputs, params), -(2**31), 2**31 - 1)
    return _finish(rescale(acc, a.multiplier, a.shift, "double"), a)


AFFINE_LAYERS: dict[type, Layer] = {
    Scaled: _scaled,
    ScaledSum: _sum,
    ScaledProduct: _product,
    ScaledMean: _mean,
    Requantize: _requantize,
    ScaledJoin: _join,
    Fill: _fill,
    ExpShare: _share,
    ExpShareWide: _share_wide,
    Curve: _curve,
    TwoSlopes: _two_slopes,
    ScaledSelect: _select,
    ScaledSlopes: _slopes,
    TimeSum: _time_sum,
}
