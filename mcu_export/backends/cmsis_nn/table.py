"""The table of cmsis-nn: the library's functions first, plain-c where none can do a layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mcu_export.backends.base import Kernel, LayerContext
from mcu_export.backends.cmsis_nn import calls
from mcu_export.backends.cmsis_nn.releases import Release, came_with
from mcu_export.backends.plain_c.affine import AFFINE_KERNELS
from mcu_export.backends.plain_c.table import KERNELS as POWER_OF_TWO_KERNELS
from mcu_export.ops import (
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Multiply,
    Softmax,
)
from mcu_export.schemes.widths import INT4

Q7 = frozenset({"q7"})
AFFINE = frozenset({"int8", "int16x8"})
SCALED = Q7 | AFFINE
S4 = frozenset({INT4})


def formats_match(context: LayerContext) -> bool:
    """input and output must have the same number of bits"""
    return {fmt.dtype for fmt in context.formats} == {context.layer.format.dtype}


def bias_fits(context: LayerContext) -> bool:
    """16-bit activations need a bias of 64 bits"""
    return bool(not calls.is_wide(context) or context.layer.param_formats["bias"].bits == 64)


def one_scale(context: LayerContext) -> bool:
    """there must be one scale for all outputs"""
    return calls.one_scale(context)


def eight_bits(context: LayerContext) -> bool:
    """activations must have 8 bits"""
    return not calls.is_wide(context)


def rounds_twice(context: LayerContext) -> bool:
    """it rounds twice, this layer once"""
    return getattr(context.arithmetic, "rounding", "") != "single"


def last_pixel_fits(release: Release) -> Callable[[LayerContext], bool]:
    """The constraint of 16-bit conv where the release sums in 32 bits and cannot be proven not to
    overflow; see :class:`Release`."""

    def constraint(context: LayerContext) -> bool:
        """with 16 bits its sums must fit 32 bits, in which it sums an odd pixel"""
        if not (release.wide_columns and calls.is_wide(context)):
            return True
        low, high = context.limits[0]
        sums = np.abs(context.params["weights"]).sum(axis=(1, 2, 3)) * max(-low, high)
        return int(sums.max()) <= np.iinfo(np.int32).max

    return constraint


def reaches_one_beyond(context: LayerContext) -> bool:
    """an 8-bit 3x3 window must not reach more than 1 pixel beyond bottom or right"""
    op, shape, out = context.op, context.shapes[0], context.shape
    small = calls.kernel_of(context) == (3, 3) and max(op.padding.top, op.padding.left) <= 1
    general = calls.is_wide(context) or shape[2] != out[2] or op.dilation != (1, 1)
    if general or not small:
        return True
    before = (op.padding.top, op.padding.left)
    ends = [(out[i] - 1) * op.strides[i] - before[i] + 3 - shape[i] for i in (0, 1)]
    return bool(max(ends) <= 1)


def even_where_multiplied(context: LayerContext) -> bool:
    """with a channel multiplier the number of input channels must be even"""
    channels = context.shapes[0][2]
    return bool(channels == context.shape[2] or channels % 2 == 0)


def not_on_mve(mve: bool) -> Callable[[LayerContext], bool]:
    """The constraint of 4-bit depthwise: found with 6.0.0 and 7.0.0 in QEMU; 5.0.0 was not run."""

    def constraint(context: LayerContext) -> bool:
        """in QEMU it gives other values on MVE, without multiplier and dilation"""
        same = context.shapes[0][2] == context.shape[2]
        return not (mve and same and context.op.dilation == (1, 1))

    return constraint


def one_row_fits(mve: bool) -> Callable[[LayerContext], bool]:
    """The constraint of 4-bit conv over one row, which MVE does with a kernel of its own."""

    def constraint(context: LayerContext) -> bool:
        """on MVE one row needs even channels and at most one column more padded right than left"""
        shape, op, (height, width) = context.shapes[0], context.op, calls.kernel_of(context)
        step, pads = op.strides[1], (op.padding.left, op.padding.right)
        if not mve or (shape[0], height) != (1, 1) or step * shape[2] % 4 or op.dilation[1] > 1:
            return True
        if width == 1 and not any(pads):
            return True
        columns = context.shape[1]
        total = (columns - 1) * step + width - shape[1]
        odd = total % 2
        at_border = sum(-(-pad // step) for pad in (pads[0] + odd, pads[0]))
        even = shape[2] % 2 == 0
        return total >= 0 and even and 2 * pads[0] + odd == total and at_border <= columns

    return constraint


def same_shapes(context: LayerContext) -> bool:
    """both inputs must be tensors of the shape of the output"""
    return list(context.shapes) == [context.shape, context.shape]


def windows_reach_input(context: LayerContext) -> bool:
    """padding must be less than the kernel with its dilation"""
    op = context.op
    sides = ((op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right))
    dilation = getattr(op, "dilation", (1, 1))
    reach = [
        (size - 1) * step for size, step in zip(calls.kernel_of(context), dilation, strict=True)
    ]
    return all(max(side) <= most for side, most in zip(sides, reach, strict=True))


SAME = (formats_match,)
POOL = (*SAME, windows_reach_input)
SUMS = (*SAME, bias_fits)
CONV = (*SUMS, windows_reach_input)
DENSE = (*SUMS, rounds_twice)
TWO = (*SAME, same_shapes)


def kernels(release: Release, mve: bool) -> tuple[Kernel, ...]:
    """The table of a release, with scratch memory for MVE or only for the C and DSP paths."""
    convolve = partial(calls.convolve, release=release, mve=mve)
    dense = partial(calls.fully_connected, release=release)
    conv = (*CONV, last_pixel_fits(release))
    per_channel = came_with(
        "arm_fully_connected_per_channel_s8", "7.0.0", release.dense_per_channel
    )
    four_bits = came_with("arm_convolve_wrapper_s4", "5.0.0", release.four_bits)
    conv_s4 = (*CONV, four_bits, one_row_fits(mve))
    depthwise = (*CONV, reaches_one_beyond)
    dw_s4 = (*CONV, four_bits, even_where_multiplied, not_on_mve(mve))
    return (
        Kernel("arm_convolve_wrapper_s4", Conv2D, S4, convolve, conv_s4),
        Kernel("arm_depthwise_conv_wrapper_s4", DepthwiseConv2D, S4, convolve, dw_s4),
        Kernel("arm_fully_connected_s4", Dense, S4, dense, (*DENSE, one_scale, four_bits)),
        Kernel("arm_convolve_wrapper_s4", Dense, S4, convolve, (*DENSE, four_bits)),
        Kernel("arm_convolve_wrapper", Conv2D, SCALED, convolve, conv),
        Kernel("arm_depthwise_conv_wrapper", DepthwiseConv2D, SCALED, convolve, depthwise),
        Kernel("arm_fully_connected", Dense, SCALED, dense, (*DENSE, one_scale)),
        Kernel(
            "arm_fully_connected_per_channel",
            Dense,
            frozenset({"int8"}),
            dense,
            (*DENSE, eight_bits, per_channel),
        ),
        Kernel("arm_max_pool", MaxPool2D, SCALED, calls.pool, POOL),
        Kernel("arm_avgpool", AveragePool2D, AFFINE, calls.pool, POOL),
        Kernel("arm_elementwise_add", Add, AFFINE, calls.elementwise_add, TWO),
        Kernel("arm_elementwise_mul", Multiply, AFFINE, calls.elementwise_mul, TWO),
        Kernel("arm_softmax", Softmax, AFFINE, calls.softmax, SAME),
        *AFFINE_KERNELS,
        *POWER_OF_TWO_KERNELS,
    )
