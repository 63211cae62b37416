"""The integer arithmetic of each kind of layer: what the reference computes and C must repeat.

Integers without a unit; ``>>`` is an arithmetic shift, so ``(a + (1 << n >> 1)) >> n`` rounds
half up. ``low`` and ``high`` are the saturation limits with a fused activation in them.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcu_export.schemes.affine_arithmetic import AFFINE_KINDS, AffineArithmetic
from mcu_export.schemes.element_arithmetic import ELEMENT_KINDS, ElementArithmetic


@dataclass(frozen=True)
class Accumulate:
    """Conv, depthwise and dense with power-of-two formats.

    ``acc = (bias << bias_shift) + ((1 << out_shift) >> 1) + sum(w * x)``, 32 bits;
    ``out = saturate(acc >> out_shift)``. ``bound`` is the proven maximum of ``|acc|`` over all
    inputs that the layer before can give, in any order of summation.
    """

    bias_shift: int
    out_shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Sum:
    """Element-wise addition with power-of-two formats.

    ``acc = (a << shifts[0]) + (b << shifts[1])``, where a negative shift is a right shift that
    rounds half up; ``out = saturate((acc + ((1 << out_shift) >> 1)) >> out_shift)``.
    """

    shifts: tuple[int, int]
    out_shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Average:
    """Mean of ``count`` elements: ``sum * 2**shift / count``, rounded half away from zero.

    ``shift`` is the output's frac bits less the input's.
    """

    shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Keep:
    """Values move or compare but keep their format: max pooling, pad, reshape, activation."""

    low: int
    high: int


@dataclass(frozen=True)
class ExpSum:
    """Softmax: ``e = table[max - x]`` (0 beyond the table), ``out = (e * 2**frac_bits + s/2) / s``.

    ``s`` is the sum of the e of the row and the division rounds down. With 16 bits the index has
    two digits in base 256, ``max - x = 256 * i + j``, and ``e = (table[i] * fine[j]) >> 15``.
    """

    table: tuple[int, ...]
    fine: tuple[int, ...]
    frac_bits: int
    low: int
    high: int
    bound: int


Arithmetic = Accumulate | Sum | Average | Keep | ExpSum | ElementArithmetic | AffineArithmetic
KINDS: tuple[type[Arithmetic], ...] = (
    *(Accumulate, Sum, Average, Keep, ExpSum),
    *ELEMENT_KINDS,
    *AFFINE_KINDS,
)
