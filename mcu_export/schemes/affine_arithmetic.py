"""The integer arithmetic of layers with TensorFlow Lite's formats.

Offsets are what is added: that of an input is minus its zero point, that of the output its zero
point. ``rescale`` and the kinds of rounding are those of :mod:`mcu_export.schemes.fixed_point`.
``low`` and ``high`` are the saturation limits with a fused activation in them; ``bound`` is the
proven maximum of the absolute value of the accumulator.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scaled:
    """Conv, depthwise, transposed conv and dense.

    ``acc = bias + sum(w * (x + input_offset))`` in ``acc_bits`` bits;
    ``out = saturate(rescale(acc, multiplier, shift) + output_offset)``, where multiplier and shift
    belong to the output channel, or there is one of each for all.
    """

    input_offset: int
    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]
    rounding: str
    acc_bits: int
    output_offset: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class ScaledSum:
    """Element-wise sum or difference.

    Each input becomes ``rescale((x + offset) * 2**left_shift, multiplier, shift)``; their sum (with
    ``sign`` -1 the difference) is rescaled by the last multiplier and shift.
    """

    offsets: tuple[int, int]
    left_shift: int
    multipliers: tuple[int, int, int]
    shifts: tuple[int, int, int]
    sign: int
    output_offset: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class ScaledProduct:
    """Element-wise product: ``rescale((a + offset_a) * (b + offset_b)) + output_offset``."""

    offsets: tuple[int, int]
    multiplier: int
    shift: int
    output_offset: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class ScaledMean:
    """Mean over height and width: ``rescale(sum(x) + input_offset) + output_offset``.

    ``input_offset`` is that of one element times the number of elements, which the multiplier
    divides by.
    """

    input_offset: int
    multiplier: int
    shift: int
    output_offset: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Requantize:
    """Another format of the same values: ``rescale(x + input_offset) + output_offset``."""

    input_offset: int
    multiplier: int
    shift: int
    output_offset: int
    low: int
    high: int


@dataclass(frozen=True)
class ScaledJoin:
    """Concatenation; each part is requantized where its format is not that of the output."""

    parts: tuple[Requantize | None, ...]
    low: int
    high: int


@dataclass(frozen=True)
class Fill:
    """Padding with an integer, that of zero or of another value."""

    value: int
    low: int
    high: int


@dataclass(frozen=True)
class ExpShare:
    """Softmax with 8 bits: ``e = exps[max - x]`` in Q0.31, 0 beyond the table.

    ``s = sum(e / 2^12)`` in Q12.19, its reciprocal by three Newton steps, and
    ``out = saturate(e / s * 2^8 - 128)``, rounded. The table follows from multiplier and shift:
    ``exps[i] = e^-(i * multiplier * 2**(shift - 31))`` with five integer bits.
    """

    exps: tuple[int, ...]
    multiplier: int
    shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class ExpShareWide:
    """Softmax with 16 bits: exp and 1 / (1 + x) from tables of 513 points with interpolation.

    ``e = exp_table(rescale(x - max, multiplier, shift) + 32767)`` in Q0.15.
    """

    multiplier: int
    shift: int
    exp_table: tuple[int, ...]
    reciprocal_table: tuple[int, ...]
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Curve:
    """Logistic or tanh with 16 bits, from a table of 256 points of the logistic function.

    ``y = (x * multiplier + half) >> shift``, then linear interpolation on |y|; ``tanh`` says
    which of the two.
    """

    multiplier: int
    shift: int
    tanh: bool
    low: int
    high: int


@dataclass(frozen=True)
class TwoSlopes:
    """Leaky ReLU with 16 bits: one multiplier and shift for x >= 0, one for x < 0."""

    input_offset: int
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    output_offset: int
    low: int
    high: int


@dataclass(frozen=True)
class ScaledSelect:
    """The larger or the smaller of two values, once both are in the format of the output."""

    parts: tuple[Requantize | None, Requantize | None]
    low: int
    high: int


@dataclass(frozen=True)
class ScaledSlopes:
    """ReLU with a slope for each channel below zero, with ``v = x + input_offset``.

    ``rescale(v)`` by the first multiplier and shift where v >= 0, else
    ``rescale(v * (alpha + slope_offset))`` by the second.
    """

    input_offset: int
    slope_offset: int
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    output_offset: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class TimeSum:
    """Filters of an SVDF layer over its memory.

    ``acc = bias + sum(w * x)`` in 64 bits, saturated to 32;
    ``out = saturate(rescale(acc, multiplier, shift) + output_offset)``. TensorFlow Lite sums in 32
    bits; the results are the same wherever its sum fits.
    """

    multiplier: int
    shift: int
    output_offset: int
    low: int
    high: int
    bound: int


AffineArithmetic = (
    Scaled
    | ScaledSum
    | ScaledProduct
    | ScaledMean
    | Requantize
    | ScaledJoin
    | Fill
    | ExpShare
    | ExpShareWide
    | Curve
    | TwoSlopes
    | ScaledSelect
    | ScaledSlopes
    | TimeSum
)
AFFINE_KINDS: tuple[type[AffineArithmetic], ...] = (
    Scaled,
    ScaledSum,
    ScaledProduct,
    ScaledMean,
    Requantize,
    ScaledJoin,
    Fill,
    ExpShare,
    ExpShareWide,
    Curve,
    TwoSlopes,
    ScaledSelect,
    ScaledSlopes,
    TimeSum,
)
