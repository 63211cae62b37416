"""Softmax and the functions of one element in TensorFlow Lite's formats.

With 8 bits a function of one element has 256 values: they are computed here, by the fixed-point
arithmetic of TFLite's kernels, and become a table. With 16 bits the kernels themselves
interpolate in tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.ops import Array, ElementFunction, HardSwish, LeakyRelu, Logistic, Op, Tanh
from mcu_export.schemes.affine_arithmetic import (
    Curve,
    ExpShare,
    ExpShareWide,
    TwoSlopes,
)
from mcu_export.schemes.element_arithmetic import Interpolate, Lookup
from mcu_export.schemes.fixed_point import (
    INT32_MAX,
    divide_by_power,
    exp_of_negative,
    high_mul,
    logistic,
    quantize_multiplier,
    rescale,
    tanh,
)
from mcu_export.schemes.formats import Affine

INTEGER_BITS = 4  # of the argument of logistic and tanh
SOFTMAX_INTEGER_BITS = 5
LOOKUP_STEPS = 512


def element_function(op: Op, x: Affine, out: Affine) -> Lookup | Interpolate | Curve | TwoSlopes:
    """The arithmetic of a function of one element.

    A function that TFLite has no integer kernel for is rounded from its real values.

    Raises:
        UnsupportedLayerError: the formats are not those that TFLite prescribes.
    """
    if x.bits == 8:
        integers = np.arange(x.lowest, x.highest + 1)
        made = _TABLES.get(type(op), _real_values)(op, integers, x, out)
        table = tuple(int(v) for v in np.clip(made, out.lowest, out.highest))
        return Lookup(table, min(table), max(table))
    if isinstance(op, Logistic | Tanh):
        _require(x.zero_point == 0 and out.zero_point == 0 and out.scale == 2.0**-15, op)
        multiplier, shift = _curve_factor(x.scale, isinstance(op, Tanh))
        low = -(2**15) if isinstance(op, Tanh) else 0
        return Curve(multiplier, shift, isinstance(op, Tanh), low, 2**15 - 1)
    if not isinstance(op, LeakyRelu) or op.alpha < 0:
        points = np.arange(x.lowest, x.highest + 2, 128)
        return Interpolate(
            tuple(map(int, _real_values(op, points, x, out))), out.lowest, out.highest
        )
    identity, slope = _slopes(op, x, out)
    return TwoSlopes(
        -x.zero_point,
        (identity[0], slope[0]),
        (identity[1], slope[1]),
        out.zero_point,
        out.lowest,
        out.highest,
    )


def _real_values(op: Op, integers: Array, x: Affine, out: Affine) -> Array:
    """The function of the real values, rounded to the format of the output."""
    assert isinstance(op, ElementFunction)
    return out.quantize(op.of(x.dequantize(integers)))


def _require(condition: bool, op: Op) -> None:
    if not condition:
        raise UnsupportedLayerError(
            f"the formats of {op.kind} are not those of the TensorFlow Lite specification",
            fix="quantize the network with a current TensorFlow Lite converter",
        )


def _curve_factor(scale: float, is_tanh: bool) -> tuple[int, int]:
    """Multiplier below 2^15 and right shift that bring x to a step of 1 / 12288.

    A power-of-two step that fits as it is needs no shift.
    """
    mantissa, exponent = math.frexp(scale)
    left = 12 + exponent - 1
    if mantissa == 0.5 and (left == 0 or (is_tanh and left == 1)):
        return 3 << left, 0
    factor, shift = scale * 4096.0 * 3.0, 0
    while factor <= 32767.0 / 2.0 and shift <= 30:
        factor, shift = factor * 2, shift + 1
    return int(factor), shift


def _argument(integers: Array, x: Affine) -> tuple[Array, int]:
    """The argument with ``INTEGER_BITS`` integer bits, and from which |x| on it saturates."""
    mantissa, shift = math.frexp(x.scale * 2.0 ** (31 - INTEGER_BITS))
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    radius = _radius(INTEGER_BITS, shift)
    inside = np.clip(integers - x.zero_point, -radius, radius)
    return rescale(inside, multiplier, shift, "double"), radius


def _radius(integer_bits: int, left_shift: int) -> int:
    """Largest |x| for which ``x << left_shift`` keeps ``integer_bits`` integer bits of 31."""
    return math.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**left_shift)


def _logistic_table(op: Op, integers: Array, x: Affine, out: Affine) -> Array:
    _require(out.zero_point == -128 and out.scale == 1 / 256, op)
    argument, radius = _argument(integers, x)
    inside = divide_by_power(logistic(argument), 23) - 128
    return _saturated(inside, integers - x.zero_point, radius, out)


def _tanh_table(op: Op, integers: Array, x: Affine, out: Affine) -> Array:
    _require(out.zero_point == 0 and out.scale == 1 / 128, op)
    argument, radius = _argument(integers, x)
    return _saturated(divide_by_power(tanh(argument), 24), integers - x.zero_point, radius, out)


def _saturated(inside: Array, distance: Array, radius: int, out: Affine) -> Array:
    below = np.where(distance <= -radius, out.lowest, inside)
    return np.where(distance >= radius, out.highest, below)


def _slopes(op: LeakyRelu, x: Affine, out: Affine) -> tuple[tuple[int, int], tuple[int, int]]:
    alpha = np.float32(op.alpha)
    factor = float(np.float32(x.scale) * alpha / np.float32(out.scale))
    identity = float(np.float32(x.scale) / np.float32(out.scale))
    return quantize_multiplier(identity), quantize_multiplier(factor)


def _leaky_relu_table(op: Op, integers: Array, x: Affine, out: Affine) -> Array:
    assert isinstance(op, LeakyRelu)
    if op.alpha < 0:
        return _real_values(op, integers, x, out)
    identity, slope = _slopes(op, x, out)
    centered = integers - x.zero_point
    positive, negative = rescale(centered, *identity, "double"), rescale(centered, *slope, "double")
    return np.where(centered >= 0, positive, negative) + out.zero_point


def _hard_swish_table(op: Op, integers: Array, x: Affine, out: Affine) -> Array:
    """x * relu6(x + 3) / 6 in 16-bit steps, as TFLite's kernel does it."""
    fine_scale = np.float32(1 / 128) * np.float32(x.scale)
    out_multiplier, out_shift = quantize_multiplier(float(fine_scale / np.float32(out.scale)))
    gate_multiplier, gate_shift = quantize_multiplier(
        float(fine_scale / (np.float32(3) / np.float32(32768)))
    )
    _require(out_shift <= 0, op)
    fine = (integers - x.zero_point) << 7
    value = _high_mul16(fine, int(_narrow(out_multiplier)))
    gate = fine
    if gate_shift > 0:
        gate = _shift_left16(gate, gate_shift - 1)
    gate = _high_mul16(gate, int(_narrow(gate_multiplier)))
    gate = _shift_left16(gate, 1) if gate_shift > 0 else divide_by_power(gate, -gate_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * value
    raw = np.sign(product) * (np.abs(product) >> 15)
    return divide_by_power(raw, -out_shift) + out.zero_point


def _narrow(multiplier: int) -> Array:
    """A 31-bit multiplier rounded to 15 bits."""
    if multiplier >= INT32_MAX - (1 << 15):
        return np.array(2**15 - 1)
    return (np.array(multiplier) + (1 << 15)) >> 16


def _high_mul16(a: Array, b: int) -> Array:
    """``a * b / 2^15``, rounded half up in magnitude for positive products; 16 bits."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    quotient: Array = np.sign(nudged) * (np.abs(nudged) >> 15)
    return np.minimum(quotient, 2**15 - 1)


def _shift_left16(x: Array, amount: int) -> Array:
    out: Array = np.clip(x << amount, -(2**15), 2**15 - 1)
    return out


_TABLES: dict[type[Op], Callable[[Op, Array, Affine, Affine], Array]] = {
    Logistic: _logistic_table,
    Tanh: _tanh_table,
    LeakyRelu: _leaky_relu_table,
    HardSwish: _hard_swish_table,
}


def softmax(beta: float, x: Affine, out: Affine, row: int) -> ExpShare | ExpShareWide:
    """The arithmetic of softmax over ``row`` elements.

    Raises:
        UnsupportedLayerError: the output does not have the format that TFLite prescribes.
    """
    if x.bits == 8:
        return _softmax8(beta, x, out, row)
    if (out.zero_point, out.scale) != (0, 2.0**-15):
        raise _softmax_format(out)
    multiplier, shift = quantize_multiplier(x.scale * beta / (10.0 / 65535.0))
    exps = lookup_table(np.exp, 10 / 65535, 32767, 2 / 65535)
    inverse = lookup_table(
        lambda v: np.float32(1) / (np.float32(1) + v), 1 / 65535, -32768, 2 / 65535
    )
    if row > 2**16:
        raise UnsupportedLayerError(f"softmax over {row} elements: the sum does not fit 32 bits")
    return ExpShareWide(multiplier, shift, exps, inverse, 0, 2**15 - 1, row * 2**15)


def _softmax8(beta: float, x: Affine, out: Affine, row: int) -> ExpShare:
    if (out.bits, out.zero_point, out.scale) != (8, -128, 1 / 256):
        raise _softmax_format(out)
    factor = min(beta * x.scale * 2.0 ** (31 - SOFTMAX_INTEGER_BITS), 2.0**31 - 1)
    multiplier, shift = quantize_multiplier(factor)
    if row > 2**12 or shift < 0:
        raise UnsupportedLayerError(f"softmax over {row} elements: the sum does not fit 32 bits")
    most = min(255, _radius(SOFTMAX_INTEGER_BITS, shift))
    below = high_mul(-np.arange(most + 1) << shift, multiplier)
    exps = exp_of_negative(below, SOFTMAX_INTEGER_BITS)
    table = tuple(int(e) for e in exps)
    return ExpShare(table, multiplier, shift, -128, 127, row << 19)


def _softmax_format(out: Affine) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        f"the output of softmax is {out.text()}; TensorFlow Lite prescribes its format",
        fix="quantize the network with a current TensorFlow Lite converter",
    )


def lookup_table(
    function: Callable[[Array], Array], in_scale: float, in_zero: int, out_scale: float
) -> tuple[int, ...]:
    """513 points of ``function`` for 16-bit input and output, in float32.

    Each point is moved by half the error that linear interpolation has in the middle after it.
    """
    f = np.float32
    low, high = f(in_scale) * f(-32768 - in_zero), f(in_scale) * f(32767 - in_zero)
    out_low, out_high = f(out_scale) * f(-32768), f(out_scale) * f(32767)
    step = (high - low) / f(LOOKUP_STEPS)
    inverse = f(65536) / (out_high - out_low)
    index = np.arange(LOOKUP_STEPS).astype(f)
    here = _round(function(low + index * step) * inverse)
    after = function(low + (index + f(1)) * step) * inverse
    middle = _round(function(low + index * step + step / f(2)) * inverse)
    bias = _round((_round((after + here) / f(2)) - middle) / f(2))
    points = np.append(here - bias, _round(function(np.array([high], f)) * inverse))
    return tuple(int(v) for v in np.clip(points, -32768, 32767))


def _round(x: Array) -> Array:
    """Half away from zero, in the dtype of ``x``."""
    rounded: Array = np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))
    return rounded.astype(x.dtype)


# Points of TFLite's table of the logistic function that lie one above the rounded value, so that
# interpolation between them errs less.
_RAISED = frozenset(
    (
        *(4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39),
        *(40, 41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116),
        *(135, 255),
    )
)


def curve_table() -> tuple[int, ...]:
    """``2^16 / (1 + exp(-i / 24))`` for i in 0 .. 255, as TFLite's 16-bit kernels have it."""
    values = np.floor(2.0**16 / (1 + np.exp(-np.arange(256) / 24)) + 0.5)
    return tuple(int(value) + (i in _RAISED) for i, value in enumerate(values))
