"""The table of plain-c for int8, int4 and int16x8: layers with weights and element-wise layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mcu_export.backends.base import Call, Kernel, LayerContext
from mcu_export.backends.cost import NO_COST, Cost
from mcu_export.backends.plain_c import columns, fast, planes, winograd
from mcu_export.backends.plain_c.affine_elements import (
    changes_format,
    function_layer,
    in_ctype,
    product_layer,
    requantize_layer,
    softmax_layer,
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
from mcu_export.backends.plain_c.affine_sum import sum_layer
from mcu_export.backends.plain_c.int4 import INT4_KERNELS
from mcu_export.backends.plain_c.kernels import window_of
from mcu_export.backends.plain_c.sums import HELPERS, RESCALE, folded_bias
from mcu_export.backends.plain_c.wide import fits_32_bits
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
    Op,
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


def _looped(
    name: str,
    op: type[Op],
    lower: Callable[[LayerContext], Call],
    cost: Cost = NO_COST,
    wide: Cost | None = None,
) -> Kernel:
    """A row for int8 and int16x8 without constraints."""
    return Kernel(f"plain-c {name}", op, AFFINE, lower, (), cost, wide)


INT8 = frozenset({"int8"})
INT16 = frozenset({"int16x8"})
PAIRED, BY_PLANES, WIDE = (fast.small_sums,), (planes.small_sums,), (fits_32_bits,)

AFFINE_KERNELS = (
    Kernel(
        "plain-c conv2d, Winograd",
        Conv2D,
        INT8,
        winograd.conv2d,
        winograd.CONSTRAINTS,
        Cost(0.35, 14, 20),
    ),
    Kernel(
        "plain-c conv2d, paired weights",
        Conv2D,
        INT8,
        fast.conv2d,
        PAIRED,
        Cost(0.98, 0, 12, 1.7),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by planes",
        DepthwiseConv2D,
        INT8,
        planes.depthwise,
        BY_PLANES,
        Cost(0.7, 3.3, 11.4),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by small planes",
        DepthwiseConv2D,
        INT8,
        planes.small_depthwise,
        BY_PLANES,
        Cost(0.7, 3.3, 12.4),
    ),
    Kernel("plain-c dense, paired weights", Dense, INT8, fast.dense, PAIRED, Cost(1.29, 0.3, 11.4)),
    Kernel(
        "plain-c conv2d, 16-bit columns",
        Conv2D,
        INT16,
        columns.conv2d,
        WIDE,
        Cost(1.2, 0, 8, 7),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by planes",
        DepthwiseConv2D,
        INT16,
        planes.depthwise,
        WIDE,
        Cost(0.7, 2.9, 9),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by small planes",
        DepthwiseConv2D,
        INT16,
        planes.small_depthwise,
        WIDE,
        Cost(0.7, 2.9, 10),
    ),
    Kernel(
        "plain-c dense, 16-bit inputs",
        Dense,
        INT16,
        columns.dense,
        (columns.reads_16_bits, *WIDE),
        Cost(2.1),
    ),
    _looped("conv2d", Conv2D, _conv2d, Cost(4.2, 0, 23), Cost(4.3, 0, 33)),
    _looped("depthwise_conv2d", DepthwiseConv2D, _depthwise, Cost(9.5, 0, 9), Cost(10, 0, 14)),
    _looped("transpose_conv2d", TransposeConv2D, _transpose_conv2d, Cost(8.3), Cost(9.5)),
    _looped("dense", Dense, _dense, Cost(5, 0, 36), Cost(5, 0, 53)),
    _looped("dense", SvdfFeatures, _dense, Cost(5, 0, 36), Cost(5, 0, 53)),
    _looped("svdf", SvdfTime, _svdf_time, Cost(5.7, 0, 23)),
    _looped("sum", Add, sum_layer, Cost(per_output=19), Cost(per_output=36)),
    _looped("sum", Plus, sum_layer, Cost(per_output=33), Cost(per_output=41)),
    _looped("sum", Subtract, sum_layer, Cost(per_output=26), Cost(per_output=38)),
    _looped("product", Multiply, product_layer, Cost(per_output=23), Cost(per_output=26)),
    _looped("select", Maximum, select_layer, Cost(per_output=25), Cost(per_output=32)),
    _looped("select", Minimum, select_layer, Cost(per_output=25), Cost(per_output=32)),
    _looped("prelu", PRelu, slopes_layer, Cost(per_output=31), Cost(per_output=20)),
    *(
        Kernel(
            "plain-c requantize",
            op,
            AFFINE,
            requantize_layer,
            (changes_format,),
            Cost(per_output=14),
            Cost(per_output=11),
        )
        for op in (Clamp, Convert)
    ),
    *(
        _looped("function", op, function_layer, Cost(per_output=3.8), Cost(per_output=21))
        for op in FUNCTIONS
    ),
    _looped("softmax", Softmax, softmax_layer, Cost(per_output=64), Cost(per_output=138)),
    *MOVES,
    *INT4_KERNELS,
)
