"""plain-c for layers with 4-bit weights, two in a byte.

The fast kernels are those of int8 (:mod:`.fast`, :mod:`.planes`): a byte has a weight of each of
two output channels. Where sums are too large for them: one output channel after the other, its
weights unpacked into scratch memory once for all pixels. A dense layer is a 1x1 convolution then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import Call, Kernel, LayerContext
from mcu_export.backends.cost import Cost
from mcu_export.backends.plain_c import fast, planes
from mcu_export.backends.plain_c.affine_kernels import ScaledWindowKernel, offset_text
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.sums import HELPERS, UNPACK, channel_axes, folded_bias
from mcu_export.ops import Conv2D, Dense, DepthwiseConv2D, elements
from mcu_export.program import Const
from mcu_export.schemes.nibbles import pack_nibbles
from mcu_export.schemes.widths import INT4


@dataclass(frozen=True)
class Int4Kernel(ScaledWindowKernel):
    """Conv, dense and depthwise; ``taps`` weights belong to an output channel."""

    what: str = ""
    taps: int = 0


def rows_window(context: LayerContext) -> Window:
    """A dense layer as a 1x1 convolution: its rows are pixels side by side."""
    out_size, in_size = context.params["weights"].shape
    rows = elements(context.shape) // out_size
    return Window(1, rows, in_size, 1, rows, out_size, 1, 1, 1, 1, 1, 1, 0, 0, padded=False)


def packed_weights(context: LayerContext, axes: str) -> Const:
    """The weights, two in a byte."""
    weights = context.params["weights"]
    plain = context.const("weights", weights, axes)
    comment = f"{plain.comment}, two in a byte, the first in the low half"
    return Const(plain.name, plain.ctype, pack_nibbles(weights), comment)


def _call(
    context: LayerContext, function: str, what: str, window: Window, axes: str, source: str
) -> Call:
    a = context.arithmetic
    bias, offset = folded_bias(context, channel_axes(context), window.padded)
    own = len(a.multipliers) > 1
    how = "out" if own else "one for all"
    kernel = Int4Kernel(
        in_ctype=context.in_ctypes[0],
        acc_ctype="int32_t",
        ctype=context.ctype,
        input_offset=offset_text(offset),
        rescale=HELPERS[a.rounding][0],
        channel="channel" if own else "0",
        output_offset=offset_text(a.output_offset),
        low=a.low,
        high=a.high,
        window=window,
        source=source,
        what=what,
        taps=context.params["weights"].size // window.out_channels,
    )
    scratch = context.scratch(kernel.taps, "int8_t")
    consts = (
        packed_weights(context, axes),
        context.const("bias", bias, "out"),
        Const(context.name("multipliers"), "int32_t", np.array(a.multipliers), f"({how})"),
        Const(context.name("shifts"), "int8_t", np.array(a.shifts), f"left shifts ({how})"),
    )
    names = (const.name for const in consts)
    return Call(
        function,
        arguments=(context.inputs[0], *names, scratch.variable, context.output),
        source=(f"plain_c/{function}.c.j2", kernel),
        consts=consts,
        scratch=scratch,
        helpers=(HELPERS[a.rounding][1], UNPACK),
    )


def _conv2d(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[1], weights.shape[2]))
    return _call(context, "int4_conv2d", "Convolution", window, "out, h, w, in", "")


def _dense(context: LayerContext) -> Call:
    return _call(context, "int4_conv2d", "Dense", rows_window(context), "out, in", "")


def _depthwise(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[0], weights.shape[1]))
    multiplier = window.out_channels // window.in_channels
    source = "channel" if multiplier == 1 else f"channel / {multiplier}"
    return _call(
        context, "int4_depthwise_conv2d", "Depthwise convolution", window, "h, w, out", source
    )


FOUR_BITS = frozenset({INT4})
INT4_KERNELS = (
    Kernel(
        "plain-c conv2d, paired 4-bit weights",
        Conv2D,
        FOUR_BITS,
        fast.conv2d,
        (fast.small_nibble_sums,),
        Cost(1.3, 0, 18, 2),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by planes, 4-bit weights",
        DepthwiseConv2D,
        FOUR_BITS,
        planes.depthwise,
        (planes.small_sums,),
        Cost(0.7, 3.3, 12.4),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by small planes, 4-bit weights",
        DepthwiseConv2D,
        FOUR_BITS,
        planes.small_depthwise,
        (planes.small_sums,),
        Cost(0.7, 3.3, 13.4),
    ),
    Kernel(
        "plain-c dense, paired 4-bit weights",
        Dense,
        FOUR_BITS,
        fast.dense,
        (fast.small_nibble_sums,),
        Cost(1.85, 0.3, 16),
    ),
    Kernel("plain-c conv2d, 4-bit weights", Conv2D, FOUR_BITS, _conv2d, cost=Cost(4.5, 0, 23)),
    Kernel(
        "plain-c depthwise_conv2d, 4-bit weights",
        DepthwiseConv2D,
        FOUR_BITS,
        _depthwise,
        cost=Cost(9.5, 0, 6),
    ),
    Kernel("plain-c dense, 4-bit weights", Dense, FOUR_BITS, _dense, cost=Cost(15)),
)
