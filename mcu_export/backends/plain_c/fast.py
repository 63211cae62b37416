"""Fast kernels of plain-c: conv and dense on paired weights.

They serve q7 and int8, which differ in what becomes of a sum (:mod:`.sums`).

One generated source serves every core: the compiler's feature macros choose vectors (MVE), pairs
of 16 bits (DSP) or plain C, and all give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.cost import NO_COST, Cost
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.packing import (
    Paired,
    fits_accumulators,
    pair_nibbles,
    pair_weights,
)
from mcu_export.backends.plain_c.sums import (
    SumKernel,
    Sums,
    largest_input,
    sums_of,
)
from mcu_export.backends.plain_c.trailing import trail_of_pixels
from mcu_export.ops import elements
from mcu_export.program import Const, Overlap
from mcu_export.schemes.nibbles import NIBBLE

MAX_OUT_SHIFT = 22
WORDS = 8
ONE_AT_A_TIME = Cost(per_window=2.5)  # copying inputs whose number of channels is not 4, 8 ...
CONV_COST = Cost(0.96, 0, 6.7, 2.1)  # of paired weights in q7


@dataclass(frozen=True)
class PairedKernel(SumKernel):
    """What conv and dense on paired weights share."""

    coded: bool
    nibbles: bool

    @property
    def suffix(self) -> str:
        """Of the functions that read the weights."""
        return "_nibbles" if self.nibbles else "_coded" if self.coded else ""

    @property
    def weight_ctype(self) -> str:
        """C type of a pair of weights."""
        return "int8_t" if self.nibbles else "int16_t"

    @property
    def order(self) -> str:
        """Name of the order of inputs in vectors."""
        return "order4_nibbles" if self.nibbles else "order4"

    @property
    def whole(self) -> bool:
        """Whether there are always four output channels."""
        return self.outputs % 4 == 0

    @property
    def left(self) -> str:
        """C text: how many output channels are left where four are wanted; 4 or more: all four."""
        return "4" if self.whole else f"{self.outputs} - channel"


@dataclass(frozen=True)
class PairedConv(PairedKernel):
    """Convolution, two pixels at a time.

    ``zero`` fills the padding. ``quads``: inputs are expanded four at a time.
    """

    window: Window
    zero: int
    real_taps: int
    pad_taps: int
    quads: bool
    pointwise: bool

    @property
    def sharing(self) -> str:
        """Whether gcc may copy the inner function for each layer: not where weights are small."""
        return "SHARED" if self.nibbles else "NOINLINE"

    @property
    def expand(self) -> str:
        """Name of the function that copies inputs."""
        return "expand4" if self.quads else "expand"

    @property
    def border(self) -> str:
        """Name of the function that copies a row at the border."""
        return "border4" if self.quads else "border"

    @property
    def order(self) -> str:
        """Name of the order of inputs in vectors."""
        return ("order4" if self.quads else "order1") + ("_nibbles" if self.nibbles else "")

    @property
    def pair_pixels(self) -> int:
        """Output pixels that have a second one."""
        return self.window.pixels - self.window.pixels % 2

    @property
    def two_inputs(self) -> int:
        """Bytes of two input pixels."""
        return 2 * self.window.in_channels

    @property
    def second_real_end(self) -> int:
        """End of the second pixel's inputs in the scratch memory, padding not counted."""
        return self.taps + self.real_taps


@dataclass(frozen=True)
class PairedDense(PairedKernel):
    """Dense, four output channels at a time."""

    rows: int
    in_size: int


def paired_of(context: LayerContext, sums: Sums) -> Paired:
    """The weights of a conv or dense layer, paired."""
    quads = context.params["weights"].ndim == 2 or context.shapes[0][2] % 4 == 0
    pair = pair_nibbles if context.layer.param_formats["weights"].bits == NIBBLE else pair_weights
    return pair(sums.flat_weights, quads)


def small_sums(context: LayerContext) -> bool:
    """The sums of paired weights must fit 32 bits."""
    sums, largest = sums_of(context), largest_input(context)
    odd = int(np.abs(sums.flat_weights).sum(axis=1).max()) * largest + sums.start
    return odd < 2**23 and fits_accumulators(paired_of(context, sums), largest, sums.start)


def small_nibble_sums(context: LayerContext) -> bool:
    """The sums of 4-bit weights must fit 19 bits: DSP cores sum them times 2^12."""
    sums = sums_of(context)
    largest = int(np.abs(sums.flat_weights).sum(axis=1).max()) * largest_input(context)
    return largest < 2**19 and 257 * (largest + sums.start) < 2**31


def small_shift(context: LayerContext) -> bool:
    """The output shift must be at most 22."""
    return bool(context.arithmetic.out_shift <= MAX_OUT_SHIFT)


def weights_comment(context: LayerContext, axes: str, order: str) -> str:
    """Of the constant: shape, format, and how they lie in memory."""
    fmt = context.layer.param_formats["weights"]
    shape = "x".join(str(size) for size in context.params["weights"].shape)
    return f"weights, {shape} ({axes}), {fmt.text()}, as {order}"


def paired_const(context: LayerContext, paired: Paired, axes: str) -> Const:
    """Weights in pairs."""
    comment = weights_comment(context, axes, paired.text())
    ctype, values = "int8_t" if paired.nibbles else "int16_t", paired.elements.ravel()
    return Const(context.name("weights"), ctype, values, comment, WORDS)


def sum_arguments(context: LayerContext, sums: Sums, scratch: str = "") -> tuple[str, ...]:
    """C arguments: input, weights, what becomes of the sums, scratch memory, output."""
    return (
        context.inputs[0],
        context.name("weights"),
        *sums.arguments,
        *([scratch] if scratch else []),
        context.output,
    )


def conv2d(context: LayerContext) -> Call:
    """Call of a convolution on paired weights."""
    sums = sums_of(context)
    weights, paired = sums.weights, paired_of(context, sums)
    window = window_of(context, (weights.shape[1], weights.shape[2]))
    real_taps = sums.flat_weights.shape[1]
    unit = weights.shape[1:3] == (1, 1) and context.op.strides == (1, 1) and not window.padded
    kernel = PairedConv(
        result=sums.result,
        outputs=window.out_channels,
        taps=paired.taps,
        coded=paired.coded,
        nibbles=paired.nibbles,
        window=window,
        zero=sums.zero,
        real_taps=real_taps,
        pad_taps=paired.taps - real_taps,
        quads=paired.quads,
        pointwise=unit,
    )
    scratch = context.scratch((2 if window.pairs else 1) * paired.taps, "int16_t")
    return Call(
        "conv2d",
        arguments=sum_arguments(context, sums, scratch.variable),
        source=("plain_c/conv2d_packed.c.j2", kernel),
        defines=sums.defines,
        consts=(paired_const(context, paired, "out, h, w, in"), *sums.consts),
        helpers=sums.helpers,
        scratch=scratch,
        overlaps=(Overlap(0, trail_of_pixels(window, 2)),),
        extra=NO_COST if paired.quads else ONE_AT_A_TIME,
    )


def dense(context: LayerContext) -> Call:
    """Call of a dense layer on paired weights."""
    sums = sums_of(context)
    weights, paired = sums.weights, paired_of(context, sums)
    outputs, in_size = weights.shape
    kernel = PairedDense(
        result=sums.result,
        outputs=outputs,
        taps=paired.taps,
        coded=paired.coded,
        nibbles=paired.nibbles,
        rows=elements(context.shape) // outputs,
        in_size=in_size,
    )
    return Call(
        "dense",
        arguments=sum_arguments(context, sums),
        source=("plain_c/dense_packed.c.j2", kernel),
        defines=sums.defines,
        consts=(paired_const(context, paired, "out, in"), *sums.consts),
        helpers=sums.helpers,
    )
