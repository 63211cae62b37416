"""int16x8 on the kernels of 16-bit columns and planes: sums of 32 bits, one multiplication each.

TensorFlow Lite sums in 64 bits. Where the bound, taken from the actual weights, shows that no sum
leaves 32 bits, 32 give the same. ``wide`` rounding is (sum * m + 2^(t - 1)) >> t with a factor m of
15 bits. For 16 <= t <= 32 that is (sum * (m * 2^(32 - t)) + 2^31) >> 32, exactly: the high word of
one rounded multiplication.
"""

from __future__ import annotations

import numpy as np

from mcu_export.backends.base import LayerContext
from mcu_export.backends.plain_c.sums import Result, Sums, narrow_to, sums_of
from mcu_export.ops import Array
from mcu_export.program import Const
from mcu_export.schemes.affine_arithmetic import Scaled
from mcu_export.schemes.fixed_point import INT32_MAX, narrow_multiplier

# Right shifts t for which the factor fits 31 bits and loses none.
LEAST_RIGHT, MOST_RIGHT = 16, 32


def _rights(a: Scaled) -> Array:
    """The right shift of each factor; a factor of 0 has any."""
    rights = 15 - np.array(a.shifts)
    return np.where(np.array(a.multipliers) == 0, MOST_RIGHT, rights)


def fits_32_bits(context: LayerContext) -> bool:
    """The sums must fit 32 bits, and results be shifted to the right by 16 to 32."""
    a = context.arithmetic
    rights = _rights(a)
    fits = rights.min() >= LEAST_RIGHT and rights.max() <= MOST_RIGHT
    return bool(a.rounding == "wide" and a.bound <= INT32_MAX and fits)


def column_sums(context: LayerContext) -> Sums:
    """The sums of a layer on columns or planes of 16 bits, in any scheme."""
    a = context.arithmetic
    if not isinstance(a, Scaled) or a.rounding != "wide":
        return sums_of(context)
    shared, bias = len(a.multipliers) == 1, context.params["bias"]
    factors = narrow_multiplier(np.array(a.multipliers)) << (32 - _rights(a))
    own = "one for all" if shared else "out"
    consts = (
        Const(context.name("bias"), "int32_t", bias, "bias (out)"),
        Const(context.name("multipliers"), "int32_t", factors, f"multipliers, Q-1.32 ({own})"),
    )
    return Sums(
        Result(
            "plain_c/by_high.c.j2",
            narrow_to(a.low, a.high, context.ctype),
            a.low,
            a.high,
            lanes="vrmulhq_s32",
            shared=shared,
        ),
        context.params["weights"],
        start=int(np.abs(bias).max()),
        zero=0,
        consts=consts,
        arguments=tuple(const.name for const in consts),
    )
