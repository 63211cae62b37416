"""What the fast kernels sum, and how a sum becomes an int8: by a shift or by a multiplier.

A power-of-two layer (q7) shifts its sum; a layer of TensorFlow Lite's formats (int8) multiplies it,
with one multiplier and shift for each output channel or one for all. The kernels are the same but
for the macros that their templates take from ``Result.macros``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import LayerContext
from mcu_export.backends.plain_c.affine_kernels import offset_text
from mcu_export.ops import Array, DepthwiseConv2D
from mcu_export.program import Const, Define
from mcu_export.schemes.affine_arithmetic import Scaled
from mcu_export.schemes.fixed_point import INT32_MAX, rescale

RESCALE = "plain_c/affine_rescale.c.j2"
UNPACK = "plain_c/int4_unpack.c.j2"
HELPERS = {
    "double": ("rescale", RESCALE),
    "single": ("rescale_single", "plain_c/affine_rescale_single.c.j2"),
    "wide": ("rescale_wide", "plain_c/affine_rescale_wide.c.j2"),
}
# Right shifts for which the fast sequences are exact; see `scaled_result`.
LEAST_SHIFT, MOST_SHIFT = 2, 22


@dataclass(frozen=True)
class Result:
    """How a sum becomes an int8.

    Attributes:
        macros: template with the macros that print it.
        narrow: helper that limits the result to ``low`` and ``high``.
        scale: helper that multiplies and shifts; empty where a shift is all.
        lanes: the same for vectors; empty where there is none.
        offset: what ``lanes`` adds.
        bias_ctype: C type of a bias, where a shift is all.
        inner: C text of what ``scale`` takes after multiplier and shift; ``outer`` is what is
            added to its result. The one or the other brings in the zero point of the output.
        shared: one multiplier and shift serve all output channels.
    """

    macros: str
    narrow: str
    low: int
    high: int
    scale: str = ""
    lanes: str = ""
    offset: int = 0
    bias_ctype: str = "int8_t"
    inner: str = ""
    outer: str = ""
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of a layer and what becomes of them.

    Attributes:
        result: what becomes of them.
        weights: the weights, in the order of the graph.
        start: largest absolute value that a sum starts with.
        zero: the input that stands for zero; it fills the padding.
        consts: constants but the weights, in the order of the arguments.
        arguments: C arguments that belong to ``result``.
        defines: for the weight header.
        helpers: templates of functions that are called.
    """

    result: Result
    weights: Array
    start: int
    zero: int
    consts: tuple[Const, ...]
    arguments: tuple[str, ...]
    defines: tuple[Define, ...] = ()
    helpers: tuple[str, ...] = ()

    @property
    def flat_weights(self) -> Array:
        """Weights of a conv or dense layer as (out, taps)."""
        return self.weights.reshape(self.weights.shape[0], -1)


@dataclass(frozen=True)
class SumKernel:
    """Conv and dense: two output channels at a time, and for conv two pixels.

    ``taps`` of an output channel include what pads them.
    """

    result: Result
    outputs: int
    taps: int

    @property
    def odd_output(self) -> bool:
        """Whether the last output channel has no second one."""
        return self.outputs % 2 == 1

    @property
    def two_taps(self) -> int:
        """Weights of two output channels; inputs of two pixels."""
        return 2 * self.taps

    @property
    def two_outputs(self) -> int:
        """Elements of two output pixels."""
        return 2 * self.outputs

    @property
    def second_odd(self) -> int:
        """Distance of an odd channel of the second pixel from the even one of the first."""
        return self.outputs + 1


def sums_of(context: LayerContext) -> Sums:
    """The sums of a conv, depthwise or dense layer in q7 or int8."""
    scaled = isinstance(context.arithmetic, Scaled)
    return scaled_sums(context) if scaled else shifted_sums(context)


def largest_input(context: LayerContext) -> int:
    """Largest absolute input, padding included."""
    low, high = context.limits[0]
    return int(max(-low, high, abs(getattr(context.formats[0], "zero_point", 0))))


NARROW = {
    ("int8_t", 0, 127): "relu8",
    ("int8_t", -128, 127): "saturate8",
    ("int16_t", 0, 32767): "relu16",
    ("int16_t", -32768, 32767): "saturate16",
}


def narrow_to(low: int, high: int, ctype: str = "int8_t") -> str:
    """The helper that limits a result to ``low`` and ``high``."""
    return NARROW.get((ctype, low, high), "clamp8" if ctype == "int8_t" else "clamp16")


def format_defines(context: LayerContext) -> tuple[Define, ...]:
    """Frac bits and shifts of an accumulating layer, as the weight header shows them."""
    layer, a = context.layer, context.arithmetic
    return (
        Define(context.macro("IN_FRAC_BITS"), context.formats[0].frac_bits, "input"),
        Define(context.macro("WEIGHT_FRAC_BITS"), layer.param_formats["weights"].frac_bits, ""),
        Define(context.macro("BIAS_FRAC_BITS"), layer.param_formats["bias"].frac_bits, ""),
        Define(context.macro("OUT_FRAC_BITS"), layer.format.frac_bits, "output"),
        Define(context.macro("BIAS_SHIFT"), a.bias_shift, "left, of the bias"),
        Define(context.macro("OUT_SHIFT"), a.out_shift, "right, of the accumulator"),
    )


def shifted_sums(context: LayerContext) -> Sums:
    """Power of two: the sum starts with bias and rounding and is shifted to the right."""
    a, bias = context.arithmetic, context.params["bias"]
    const = context.const("bias", bias, "out")
    return Sums(
        Result(
            "plain_c/by_shift.c.j2",
            narrow_to(a.low, a.high, context.ctype),
            a.low,
            a.high,
            lanes="vshlq_s32",
            bias_ctype=context.param_ctype("bias"),
        ),
        weights=context.params["weights"],
        start=int(np.abs(bias).max()) * 2**a.bias_shift + ((1 << a.out_shift) >> 1),
        zero=0,
        consts=(const,),
        arguments=(const.name, context.macro("BIAS_SHIFT"), context.macro("OUT_SHIFT")),
        defines=format_defines(context),
    )


def scaled_result(a: Scaled, shifts: Array) -> tuple[Result, Array]:
    """The way to rescale for right shifts ``shifts``, and the shifts as it takes them.

    ``double`` rounding by a right shift of e is x = (sum * multiplier + 2^30) >> 31, then
    (x + 2^(e-1) - (x < 0)) >> e, then the offset is added. Nested shifts of integers are one:
    (sum * multiplier + C) >> (31 + e) with C = 2^30 + (2 * offset + 1) * 2^(30 + e), less 2^31
    where x < 0. For e >= 2 the second part of C lies in the high word, so that the high word of one
    multiplication with accumulation, shifted by e - 1, is the result. Where the lower limit is
    the offset or above (ReLU), a negative x ends at the limit either way, and nothing is subtracted
    (``scale8``). Else 2^31 is subtracted where the sum is negative (``scale8_signed``): x is then
    0 only for the sum -1 and the multiplier 2^30, or the multiplier 0, and the result is the offset
    either way. With e <= 22 the second part fits 30 bits of the high word.
    """
    macros, shared = "plain_c/by_multiplier.c.j2", len(a.multipliers) == 1
    limits = (narrow_to(a.low, a.high), a.low, a.high)
    fits = bool(shifts.min() >= LEAST_SHIFT and shifts.max() <= MOST_SHIFT)
    if a.rounding != "double" or not fits:
        scale, _ = HELPERS[a.rounding]
        outer = offset_text(a.output_offset)
        return Result(macros, *limits, scale, outer=outer, shared=shared), -shifts
    return rescaling(a.low, a.high, a.output_offset, shared), shifts - LEAST_SHIFT


def rescaling(low: int, high: int, offset: int, shared: bool) -> Result:
    """The fast sequence for limits and offset of an output; see :func:`scaled_result`."""
    kind = "" if low >= offset else "_signed"
    return Result(
        "plain_c/by_multiplier.c.j2",
        *(narrow_to(low, high), low, high),
        scale=f"scale8{kind}",
        lanes=f"lanes{kind}",
        offset=offset,
        inner=f", {2 * offset + 1}",
        shared=shared,
    )


def scaled_sums(context: LayerContext) -> Sums:
    """int8: the input offset is in the bias, the sum is multiplied.

    A channel whose output is the same for every input keeps neither its weights nor its bias, which
    may be huge: its sum is a small number that gives this output.
    """
    a = context.arithmetic
    weights, bias, multipliers, shifts = _without_constant_channels(context)
    result, stored = scaled_result(a, -shifts)
    own = "one for all" if result.shared else "out"
    how = "right, less 2" if result.inner else "left"
    consts = (
        Const(context.name("bias"), "int32_t", bias, "bias with the input offset in it (out)"),
        Const(context.name("multipliers"), "int32_t", multipliers, f"multipliers, Q0.31 ({own})"),
        Const(context.name("shifts"), "int8_t", stored, f"shifts to the {how} ({own})"),
    )
    return Sums(
        result,
        weights,
        start=int(np.abs(bias).max()),
        zero=-a.input_offset,
        consts=consts,
        arguments=tuple(const.name for const in consts),
        helpers=() if result.inner else (HELPERS[a.rounding][1],),
    )


def channel_axes(context: LayerContext) -> tuple[int, ...]:
    """The axes of the weights that one output sums over."""
    if isinstance(context.op, DepthwiseConv2D):
        return (0, 1)
    return tuple(range(1, context.params["weights"].ndim))


def folded_bias(context: LayerContext, axes: tuple[int, ...], padded: bool) -> tuple[Array, int]:
    """Bias with the input offset in it where that is possible, and the offset that is left.

    A padded window skips what lies outside, so there the offset belongs to each element. The
    folded sums stay within 32 bits by the same bound, taken with the raw inputs.
    """
    a, bias, weights = context.arithmetic, context.params["bias"], context.params["weights"]
    if padded or a.input_offset == 0:
        return bias, a.input_offset
    folded = bias + a.input_offset * weights.sum(axis=axes)
    largest = max(abs(context.formats[0].lowest), context.formats[0].highest)
    bound = np.abs(folded) + np.abs(weights).sum(axis=axes) * largest
    return (bias, a.input_offset) if bound.max() > INT32_MAX else (folded, 0)


def _without_constant_channels(context: LayerContext) -> tuple[Array, Array, Array, Array]:
    """Weights, folded bias, multipliers and left shifts."""
    a, weights = context.arithmetic, context.params["weights"]
    axes = channel_axes(context)
    bias = context.params["bias"] + a.input_offset * weights.sum(axis=axes)
    multipliers, shifts = np.array(a.multipliers), np.array(a.shifts)
    if len(multipliers) == 1:
        return weights, bias, multipliers, shifts
    spread = np.abs(weights).sum(axis=axes) * largest_input(context)
    least, most = (
        np.clip(rescale(sums, multipliers, shifts, a.rounding) + a.output_offset, a.low, a.high)
        for sums in np.clip([bias - spread, bias + spread], -a.bound, a.bound)
    )
    constant = least == most
    # With multiplier 2^30 and a right shift of 2 the sum 8 n gives n.
    bias = np.where(constant, 8 * (least - a.output_offset), bias)
    multipliers = np.where(constant, 1 << 30, multipliers)
    shifts = np.where(constant, -LEAST_SHIFT, shifts)
    by_channel = np.expand_dims(constant, axes)
    return np.where(by_channel, 0, weights), bias, multipliers, shifts
