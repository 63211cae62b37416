"""The table of plain-c for int8, int4 and int16x8: layers with weights and element-wise layers."""

from __future__ import annotations

import numpy as np

from mcu_export.backends.base import Call, Kernel, LayerContext
from mcu_export.backends.plain_c import fast, planes
from mcu_export.backends.plain_c.affine_elements import (
    changes_format,
    function_layer,
    in_ctype,
    product_layer,
    requantize_layer,
    softmax_layer,
    sum_layer,
)
from mcu_export.backends.plain_c.affine_kernels import (
    ScaledDenseKernel,
    ScaledTransposeKernel,
    ScaledWindowKernel,
    TimeKernel,
    offset_text,
)
from mcu_export.backends.plain_c.affine_moves import MOVES
from mcu_export.backends.plain_c.affine_select import select_layer, slopes_layer
from mcu_export.backends.plain_c.int4 import INT4_KERNELS
from mcu_export.backends.plain_c.kernels import window_of
from mcu_export.backends.plain_c.sums import HELPERS, RESCALE, folded_bias
from mcu_export.ops import (
    Add,
    Array,
    Clamp,
    Conv2D,
    Convert,
    Dense,
    DepthwiseConv2D,
    Maximum,
    Minimum,
    Multiply,
    Plus,
    PRelu,
    Softmax,
    Subtract,
    SvdfFeatures,
    SvdfTime,
    TransposeConv2D,
    elements,
)
from mcu_export.program import Const
from mcu_export.schemes.fixed_point import narrow_multiplier
from mcu_export.schemes.power_of_two_elements import FUNCTIONS

AFFINE = frozenset({"int8", "int16x8"})


def _common(context: LayerContext, input_offset: int) -> dict[str, object]:
    """The fields of :class:`ScaledKernel`."""
    a = context.arithmetic
    return {
        "in_ctype": in_ctype(context),
        "acc_ctype": f"int{a.acc_bits}_t",
        "ctype": context.ctype,
        "input_offset": offset_text(input_offset),
        "rescale": HELPERS[a.rounding][0],
        "channel": "channel" if len(a.multipliers) > 1 else "0",
        "output_offset": offset_text(a.output_offset),
        "low": a.low,
        "high": a.high,
    }


def _scaled_call(
    context: LayerContext, function: str, kernel: object, axes: str, bias: Array
) -> Call:
    a = context.arithmetic
    multipliers = np.array(a.multipliers)
    if a.rounding == "wide":
        multipliers = narrow_multiplier(multipliers)
    own = "out" if len(a.multipliers) > 1 else "one for all"
    consts = (
        context.const("weights", context.params["weights"], axes),
        context.const("bias", bias, "out"),
        Const(context.name("multipliers"), "int32_t", multipliers, f"multipliers ({own})"),
        Const(context.name("shifts"), "int8_t", np.array(a.shifts), f"left shifts ({own})"),
    )
    return Call(
        function,
        arguments=(context.inputs[0], *(const.name for const in consts), context.output),
        source=(f"plain_c/affine_{function}.c.j2", kernel),
        consts=consts,
        helpers=(HELPERS[a.rounding][1],),
    )


def _conv2d(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[1], weights.shape[2]))
    bias, offset = folded_bias(context, (1, 2, 3), window.padded)
    kernel = ScaledWindowKernel(**_common(context, offset), window=window)  # type: ignore[arg-type]
    return _scaled_call(context, "conv2d", kernel, "out, h, w, in", bias)


def _depthwise(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[0], weights.shape[1]))
    bias, offset = folded_bias(context, (0, 1), window.padded)
    multiplier = weights.shape[2] // context.shapes[0][2]
    source = "channel" if multiplier == 1 else f"channel / {multiplier}"
    common = _common(context, offset)
    kernel = ScaledWindowKernel(**common, window=window, source=source)  # type: ignore[arg-type]
    return _scaled_call(context, "depthwise_conv2d", kernel, "h, w, out", bias)


def _transpose_conv2d(context: LayerContext) -> Call:
    weights, op, shape = context.params["weights"], context.op, context.shapes[0]
    kernel = ScaledTransposeKernel(
        **_common(context, context.arithmetic.input_offset),  # type: ignore[arg-type]
        in_height=shape[0],
        in_width=shape[1],
        in_channels=shape[2],
        out_height=context.shape[0],
        out_width=context.shape[1],
        out_channels=context.shape[2],
        kernel_height=weights.shape[1],
        kernel_width=weights.shape[2],
        stride_y=op.strides[0],
        stride_x=op.strides[1],
        pad_top=op.padding.top,
        pad_left=op.padding.left,
    )
    return _scaled_call(
        context, "transpose_conv2d", kernel, "out, h, w, in", context.params["bias"]
    )


def _dense(context: LayerContext) -> Call:
    weights = context.params["weights"]
    bias, offset = folded_bias(context, (1,), padded=False)
    kernel = ScaledDenseKernel(
        **_common(context, offset),  # type: ignore[arg-type]
        rows=elements(context.shape) // weights.shape[0],
        in_size=weights.shape[1],
        out_size=weights.shape[0],
    )
    return _scaled_call(context, "dense", kernel, "out, in", bias)


def _svdf_time(context: LayerContext) -> Call:
    a, weights = context.arithmetic, context.params["weights"]
    (units,) = context.shape
    kernel = TimeKernel(
        in_ctype=in_ctype(context),
        weight_ctype=context.param_ctype("weights"),
        ctype=context.ctype,
        units=units,
        taps=weights.size // units,
        multiplier=a.multiplier,
        shift=a.shift,
        output_offset=offset_text(a.output_offset),
        low=a.low,
        high=a.high,
    )
    consts = (
        context.const("weights", weights, "filter, frame"),
        context.const("bias", context.params["bias"], "out"),
    )
    return Call(
        "svdf",
        arguments=(context.inputs[0], *(const.name for const in consts), context.output),
        source=("plain_c/affine_svdf.c.j2", kernel),
        consts=consts,
        helpers=(RESCALE,),
    )


INT8 = frozenset({"int8"})
PAIRED, BY_PLANES = (fast.small_sums,), (planes.sums_in_lanes,)

AFFINE_KERNELS = (
    Kernel("plain-c conv2d, paired weights", Conv2D, INT8, fast.conv2d, PAIRED),
    Kernel(
        "plain-c depthwise_conv2d, by planes", DepthwiseConv2D, INT8, planes.depthwise, BY_PLANES
    ),
    Kernel(
        "plain-c depthwise_conv2d, by small planes",
        DepthwiseConv2D,
        INT8,
        planes.small_depthwise,
        BY_PLANES,
    ),
    Kernel("plain-c dense, paired weights", Dense, INT8, fast.dense, PAIRED),
    Kernel("plain-c conv2d", Conv2D, AFFINE, _conv2d),
    Kernel("plain-c depthwise_conv2d", DepthwiseConv2D, AFFINE, _depthwise),
    Kernel("plain-c transpose_conv2d", TransposeConv2D, AFFINE, _transpose_conv2d),
    Kernel("plain-c dense", Dense, AFFINE, _dense),
    Kernel("plain-c dense", SvdfFeatures, AFFINE, _dense),
    Kernel("plain-c svdf", SvdfTime, AFFINE, _svdf_time),
    Kernel("plain-c sum", Add, AFFINE, sum_layer),
    Kernel("plain-c sum", Plus, AFFINE, sum_layer),
    Kernel("plain-c sum", Subtract, AFFINE, sum_layer),
    Kernel("plain-c product", Multiply, AFFINE, product_layer),
    Kernel("plain-c select", Maximum, AFFINE, select_layer),
    Kernel("plain-c select", Minimum, AFFINE, select_layer),
    Kernel("plain-c prelu", PRelu, AFFINE, slopes_layer),
    Kernel("plain-c requantize", Clamp, AFFINE, requantize_layer, (changes_format,)),
    Kernel("plain-c requantize", Convert, AFFINE, requantize_layer, (changes_format,)),
    *(Kernel("plain-c function", op, AFFINE, function_layer) for op in FUNCTIONS),
    Kernel("plain-c softmax", Softmax, AFFINE, softmax_layer),
    *MOVES,
    *INT4_KERNELS,
)
