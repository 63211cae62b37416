"""Fixed-point arithmetic of TensorFlow Lite's integer kernels, in numpy on int64.

A real factor is stored as ``multiplier * 2**(shift - 31)`` with a multiplier in [2^30, 2^31). Three
ways to apply it exist; which one a layer uses is part of its arithmetic:

- ``double``: rounds twice, as TFLite's reference kernels, TFLite Micro and CMSIS-NN do;
- ``single``: rounds once, as the fully connected layer of recent TFLite interpreters does;
- ``wide``: a 16-bit multiplier on a 64-bit accumulator, for int16x8 with 64-bit bias.

Sources: the TensorFlow Lite quantization specification; Jacob et al. 2018, section 2.2; gemmlowp's
fixed-point documentation for the functions exp and 1 / (1 + x).
"""

from __future__ import annotations

import math

import numpy as np

from mcu_export.ops.base import Array

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)


def quantize_multiplier(factor: float) -> tuple[int, int]:
    """(multiplier, shift) with ``factor`` about ``multiplier * 2**(shift - 31)``; 0 gives (0, 0).

    Factors below 2^-32 are stored as 0, as TFLite does.
    """
    if factor == 0:
        return 0, 0
    mantissa, shift = math.frexp(factor)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def high_mul(a: Array, b: Array | int) -> Array:
    """``a * b / 2^31``, rounded half up; saturates only for -2^31 times itself."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    out: Array = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    return out


def divide_by_power(x: Array, exponent: Array | int) -> Array:
    """``x / 2**exponent``, rounded half away from zero."""
    x = np.asarray(x, np.int64)
    half = (np.int64(1) << np.asarray(exponent, np.int64)) >> 1
    out: Array = np.sign(x) * ((np.abs(x) + half) >> exponent)
    return out


def rescale(x: Array, multiplier: Array | int, shift: Array | int, rounding: str) -> Array:
    """``x * multiplier * 2**(shift - 31)`` as ``rounding`` says.

    ``x`` times ``2**shift`` must fit 32 bits where shift is positive (``double``); for ``wide`` x
    may have 48 bits.
    """
    x = np.asarray(x, np.int64)
    shift = np.asarray(shift, np.int64)
    if rounding == "double":
        left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
        return divide_by_power(high_mul(x << left, multiplier), right)
    factor = np.asarray(multiplier, np.int64)
    total = 31 - shift
    if rounding == "wide":
        factor, total = narrow_multiplier(factor), 15 - shift
    out: Array = (x * factor + (np.int64(1) << (total - 1))) >> total
    return out


def narrow_multiplier(multiplier: Array) -> Array:
    """A 31-bit multiplier rounded to 15 bits, as ``wide`` uses it."""
    wide = multiplier.astype(np.int64)
    out: Array = np.where(wide < 0x7FFF0000, (wide + (1 << 15)) >> 16, 0x7FFF)
    return out


def saturating_shift_left(x: Array, amount: int) -> Array:
    """``x << amount``, saturated to 32 bits."""
    out: Array = np.clip(np.asarray(x, np.int64) << amount, INT32_MIN, INT32_MAX)
    return out


# exp(-2^i) in Q0.31 for i = -2 .. 4, each rounded to nearest.
_EXP_FACTORS = tuple(math.floor(math.exp(-(2.0**i)) * 2**31 + 0.5) for i in range(-2, 5))
_EXP_MINUS_EIGHTH = math.floor(math.exp(-0.125) * 2**31 + 0.5)
_THIRD = math.floor(2**31 / 3 + 0.5)


def exp_of_negative(x: Array, integer_bits: int) -> Array:
    """e^x in Q0.31 for x <= 0 with ``integer_bits`` integer bits (at most 5) and sign.

    A Taylor series of four terms around -1/8 for the last quarter, then a product of powers of e
    for the set bits of the rest.
    """
    frac_bits = 31 - integer_bits
    quarter = 1 << (frac_bits - 2)
    x = np.asarray(x, np.int64)
    fraction = (x & (quarter - 1)) - quarter
    near = saturating_shift_left(fraction, integer_bits) + (1 << 28)
    square = high_mul(near, near)
    fourth = divide_by_power(high_mul(square, square), 2)
    series = high_mul(fourth + high_mul(square, near), _THIRD) + square
    terms = near + divide_by_power(series, 1)
    result = _EXP_MINUS_EIGHTH + high_mul(terms, _EXP_MINUS_EIGHTH)
    remainder = fraction - x
    for index, factor in enumerate(_EXP_FACTORS):
        bit = frac_bits + index - 2
        if index - 2 < integer_bits:
            result = np.where(remainder & (1 << bit), high_mul(result, factor), result)
    out: Array = np.where(x == 0, INT32_MAX, result)
    return out


def _newton(x: Array) -> Array:
    """2 / (1 + x) in Q2.29 for x in [0, 1] as Q0.31: three Newton steps from 48/17 - 32/17 d."""
    half = (np.asarray(x, np.int64) + INT32_MAX + 1) >> 1
    estimate = _NEWTON_OFFSET + high_mul(half, -_NEWTON_SLOPE)
    for _ in range(3):
        error = (1 << 29) - high_mul(half, estimate)
        estimate = estimate + saturating_shift_left(high_mul(estimate, error), 2)
    return estimate


_NEWTON_OFFSET = math.floor(48 / 17 * 2**29 + 0.5)
_NEWTON_SLOPE = math.floor(32 / 17 * 2**29 + 0.5)


def reciprocal(x: Array) -> Array:
    """1 / (1 + x) in Q0.31 for x in [0, 1] as Q0.31."""
    return saturating_shift_left(_newton(x), 1)


def logistic(x: Array, integer_bits: int = 4) -> Array:
    """1 / (1 + e^-x) in Q0.31."""
    x = np.asarray(x, np.int64)
    positive = reciprocal(exp_of_negative(-np.abs(x), integer_bits))
    out: Array = np.where(x > 0, positive, INT32_MAX - positive)
    return np.where(x == 0, 1 << 30, out)


def tanh(x: Array, integer_bits: int = 4) -> Array:
    """tanh(x) = (1 - e) / (1 + e) with e = e^-2|x|, in Q0.31."""
    x = np.asarray(x, np.int64)
    newton = _newton(exp_of_negative(-np.abs(x), integer_bits + 1))
    positive = saturating_shift_left(newton - (1 << 29), 2)
    out: Array = np.where(x > 0, positive, -positive)
    return np.where(x == 0, 0, out)
