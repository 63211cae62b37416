"""The table of cmsis-nn: the library's functions first, plain-c where none can do a layer."""

from __future__ import annotations

from functools import partial

from mcu_export.backends.base import Kernel, LayerContext
from mcu_export.backends.cmsis_nn import calls
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

Q7 = frozenset({"q7"})
AFFINE = frozenset({"int8", "int16x8"})
SCALED = Q7 | AFFINE


def formats_match(context: LayerContext) -> bool:
    """input and output must have the same number of bits"""
    return {fmt.dtype for fmt in context.formats} == {context.layer.format.dtype}


def bias_fits(context: LayerContext) -> bool:
    """16-bit activations need a bias of 64 bits"""
    return bool(not calls.is_wide(context) or context.layer.param_formats["bias"].bits == 64)


def one_scale_with_16_bits(context: LayerContext) -> bool:
    """with 16 bits there must be one scale for all outputs"""
    return not calls.is_wide(context) or len(context.arithmetic.multipliers) == 1


def same_shapes(context: LayerContext) -> bool:
    """both inputs must be tensors of the shape of the output"""
    return list(context.shapes) == [context.shape, context.shape]


def windows_reach_input(context: LayerContext) -> bool:
    """padding must be less than the kernel"""
    op = context.op
    sides = ((op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right))
    return all(max(side) < size for side, size in zip(sides, op.kernel, strict=True))


SAME = (formats_match,)
DENSE = (*SAME, bias_fits, one_scale_with_16_bits)
POOL = (*SAME, windows_reach_input)
TWO = (*SAME, same_shapes)


def kernels(mve: bool) -> tuple[Kernel, ...]:
    """The table, with scratch memory for MVE or only for the C and DSP paths."""
    convolve = partial(calls.convolve, mve=mve)
    return (
        Kernel("arm_convolve_wrapper", Conv2D, SCALED, convolve, (*SAME, bias_fits)),
        Kernel("arm_depthwise_conv_wrapper", DepthwiseConv2D, SCALED, convolve, (*SAME, bias_fits)),
        Kernel("arm_fully_connected", Dense, SCALED, calls.fully_connected, DENSE),
        Kernel("arm_max_pool", MaxPool2D, SCALED, calls.pool, POOL),
        Kernel("arm_avgpool", AveragePool2D, AFFINE, calls.pool, POOL),
        Kernel("arm_elementwise_add", Add, AFFINE, calls.elementwise_add, TWO),
        Kernel("arm_elementwise_mul", Multiply, AFFINE, calls.elementwise_mul, TWO),
        Kernel("arm_softmax", Softmax, AFFINE, calls.softmax, SAME),
        *AFFINE_KERNELS,
        *POWER_OF_TWO_KERNELS,
    )
