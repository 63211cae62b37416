"""The table of plain-c: one function per op makes its kernel, one row names it."""

from __future__ import annotations

import numpy as np

from mcu_export.backends.base import Call, Kernel, LayerContext
from mcu_export.backends.cost import Cost
from mcu_export.backends.plain_c import columns, fast, planes, winograd
from mcu_export.backends.plain_c.affine_moves import fill_call
from mcu_export.backends.plain_c.binary import binary_call
from mcu_export.backends.plain_c.elements import (
    function_call,
    gather_call,
    join_call,
    shifted,
    slopes_call,
    transpose_call,
    transpose_conv_kernel,
)
from mcu_export.backends.plain_c.kernels import (
    AddKernel,
    ClampKernel,
    DenseKernel,
    PadKernel,
    SoftmaxKernel,
    WindowKernel,
    accumulate_fields,
    image_elements,
    window_of,
)
from mcu_export.backends.plain_c.pools import average_pool, max_pool
from mcu_export.backends.plain_c.sums import format_defines
from mcu_export.ops import (
    Add,
    AveragePool2D,
    Clamp,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Gather,
    Maximum,
    MaxPool2D,
    Minimum,
    Multiply,
    Pad,
    Plus,
    PRelu,
    Reshape,
    Softmax,
    Subtract,
    Transpose,
    TransposeConv2D,
    elements,
)
from mcu_export.program import Const, Overlap, ctype_bytes
from mcu_export.schemes.affine_arithmetic import Fill
from mcu_export.schemes.power_of_two_elements import FUNCTIONS
from mcu_export.schemes.widths import POWER_OF_TWO

Q7 = frozenset({"q7"})


def accumulate_consts(context: LayerContext, axes: str) -> tuple[Const, Const]:
    """Weights and bias in the order of the graph."""
    return (
        context.const("weights", context.params["weights"], axes),
        context.const("bias", context.params["bias"], "out"),
    )


def _accumulate_call(
    context: LayerContext, function: str, template: str, kernel: object, axes: str
) -> Call:
    return Call(
        function,
        arguments=(
            context.inputs[0],
            context.name("weights"),
            context.name("bias"),
            context.macro("BIAS_SHIFT"),
            context.macro("OUT_SHIFT"),
            context.output,
        ),
        source=(template, kernel),
        defines=format_defines(context),
        consts=accumulate_consts(context, axes),
    )


def _conv2d(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[1], weights.shape[2]))
    kernel = WindowKernel(**accumulate_fields(context), window=window)
    return _accumulate_call(context, "conv2d", "plain_c/conv2d.c.j2", kernel, "out, h, w, in")


def _depthwise(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[0], weights.shape[1]))
    multiplier = weights.shape[2] // context.shapes[0][2]
    kernel = WindowKernel(**accumulate_fields(context), window=window, multiplier=multiplier)
    return _accumulate_call(
        context, "depthwise_conv2d", "plain_c/depthwise_conv2d.c.j2", kernel, "h, w, out"
    )


def _dense(context: LayerContext) -> Call:
    out_size, in_size = context.params["weights"].shape
    rows = elements(context.shape) // out_size
    kernel = DenseKernel(
        **accumulate_fields(context), rows=rows, in_size=in_size, out_size=out_size
    )
    return _accumulate_call(context, "dense", "plain_c/dense.c.j2", kernel, "out, in")


def _no_wider(context: LayerContext, read: int) -> bool:
    """Whether an element of the output has at most as many bytes as one of input ``read``."""
    return ctype_bytes(context.ctype) <= ctype_bytes(context.in_ctypes[read])


def _add(context: LayerContext) -> Call:
    a = context.arithmetic
    kernel = AddKernel(
        context.in_ctypes[0],
        context.in_ctypes[1],
        context.ctype,
        elements(context.shape),
        shifted("first[i]", a.shifts[0]),
        shifted("second[i]", a.shifts[1]),
        rounding=(1 << a.out_shift) >> 1,
        out_shift=a.out_shift,
        low=a.low,
        high=a.high,
    )
    return Call(
        "add",
        arguments=(*context.inputs, context.output),
        source=("plain_c/add.c.j2", kernel),
        overlaps=tuple(Overlap(read, 0) for read in (0, 1) if _no_wider(context, read)),
    )


def _clamp(context: LayerContext) -> Call:
    a = context.arithmetic
    kernel = ClampKernel(context.ctype, elements(context.shape), a.low, a.high)
    return Call(
        "clamp",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/clamp.c.j2", kernel),
        overlaps=(Overlap(0, 0),),
    )


def _pad(context: LayerContext) -> Call:
    if isinstance(context.arithmetic, Fill):
        return fill_call(context)
    (shape,), out, padding = context.shapes, context.shape, context.op.padding
    kernel = PadKernel(
        context.ctype,
        rows=shape[0],
        row_elements=image_elements(shape),
        top_elements=padding.top * image_elements(out),
        bottom_elements=padding.bottom * image_elements(out),
        left_elements=padding.left * shape[2],
        right_elements=padding.right * shape[2],
    )
    return Call(
        "pad",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/pad.c.j2", kernel),
    )


def _reshape(context: LayerContext) -> Call:
    return Call("")


def _softmax(context: LayerContext) -> Call:
    a = context.arithmetic
    row = context.shape[-1]
    kernel = SoftmaxKernel(
        context.in_ctypes[0],
        context.ctype,
        rows=elements(context.shape) // row,
        row=row,
        table_size=len(a.table),
        fine_size=len(a.fine),
        frac_bits=a.frac_bits,
        high=a.high,
    )
    table = Const(
        context.name("exp"), "uint16_t", np.array(a.table), "round(2^15 * exp(-i * step)), Q1.15"
    )
    consts = [table]
    if a.fine:
        fine = "round(2^15 * exp(-i * step / 256)), Q1.15"
        consts.append(Const(context.name("exp_fine"), "uint16_t", np.array(a.fine), fine))
    return Call(
        "softmax",
        arguments=(context.inputs[0], *(const.name for const in consts), context.output),
        source=("plain_c/softmax.c.j2", kernel),
        consts=tuple(consts),
        in_place=context.in_ctypes == (context.ctype,),
    )


def _transpose_conv(context: LayerContext) -> Call:
    kernel = transpose_conv_kernel(context)
    template = "plain_c/transpose_conv2d.c.j2"
    return _accumulate_call(context, "transpose_conv2d", template, kernel, "out, h, w, in")


FAST = (fast.small_sums, fast.small_shift)
WINOGRAD = (*winograd.CONSTRAINTS, fast.small_shift)
COLUMNS = (columns.reads_16_bits,)

KERNELS = (
    Kernel("plain-c conv2d, Winograd", Conv2D, Q7, winograd.conv2d, WINOGRAD, winograd.COST),
    Kernel("plain-c conv2d, paired weights", Conv2D, Q7, fast.conv2d, FAST, fast.CONV_COST),
    Kernel(
        "plain-c conv2d, 16-bit columns",
        Conv2D,
        POWER_OF_TWO,
        columns.conv2d,
        cost=Cost(1.2, 0, 4.5, 7),
    ),
    Kernel("plain-c conv2d", Conv2D, POWER_OF_TWO, _conv2d, cost=Cost(4.2, 0, 2)),
    Kernel(
        "plain-c depthwise_conv2d, by planes",
        DepthwiseConv2D,
        POWER_OF_TWO,
        planes.depthwise,
        cost=Cost(0.7, 2.9, 5.6),
    ),
    Kernel(
        "plain-c depthwise_conv2d, by small planes",
        DepthwiseConv2D,
        POWER_OF_TWO,
        planes.small_depthwise,
        cost=Cost(0.7, 2.9, 6.5),
    ),
    Kernel(
        "plain-c depthwise_conv2d", DepthwiseConv2D, POWER_OF_TWO, _depthwise, cost=Cost(7.2, 0, 4)
    ),
    Kernel("plain-c dense, paired weights", Dense, Q7, fast.dense, FAST, Cost(1.29, 0, 5.9)),
    Kernel(
        "plain-c dense, 16-bit inputs",
        Dense,
        POWER_OF_TWO,
        columns.dense,
        COLUMNS,
        Cost(1.9),
    ),
    Kernel("plain-c dense", Dense, POWER_OF_TWO, _dense, cost=Cost(5, 0, 19)),
    Kernel(
        "plain-c max_pool2d",
        MaxPool2D,
        POWER_OF_TWO,
        max_pool,
        cost=Cost(per_window=3.9),
        wide=Cost(per_window=4),
    ),
    Kernel(
        "plain-c average_pool2d",
        AveragePool2D,
        POWER_OF_TWO,
        average_pool,
        cost=Cost(per_output=5.5, per_window=2.3),
    ),
    Kernel("plain-c add", Add, POWER_OF_TWO, _add, cost=Cost(per_output=7.5)),
    Kernel("plain-c clamp", Clamp, POWER_OF_TWO, _clamp, cost=Cost(per_output=5)),
    Kernel(
        "plain-c pad", Pad, POWER_OF_TWO, _pad, cost=Cost(per_output=0.6), wide=Cost(per_output=1.2)
    ),
    Kernel("no code: same memory", Reshape, POWER_OF_TWO, _reshape),
    Kernel(
        "plain-c softmax",
        Softmax,
        POWER_OF_TWO,
        _softmax,
        cost=Cost(per_output=32),
        wide=Cost(per_output=44),
    ),
    Kernel(
        "plain-c transpose_conv2d",
        TransposeConv2D,
        POWER_OF_TWO,
        _transpose_conv,
        cost=Cost(6.4),
    ),
    *(
        Kernel(
            "plain-c function",
            op,
            POWER_OF_TWO,
            function_call,
            cost=Cost(per_output=3.8),
            wide=Cost(per_output=15),
        )
        for op in FUNCTIONS
    ),
    *(
        Kernel("plain-c binary", op, POWER_OF_TWO, binary_call, cost=Cost(per_output=10))
        for op in (Plus, Subtract, Multiply, Maximum, Minimum)
    ),
    Kernel("plain-c prelu", PRelu, POWER_OF_TWO, slopes_call, cost=Cost(per_output=9.2)),
    Kernel("plain-c concatenate", Concatenate, POWER_OF_TWO, join_call, cost=Cost(per_output=2.2)),
    Kernel("plain-c transpose", Transpose, POWER_OF_TWO, transpose_call, cost=Cost(per_output=4.8)),
    Kernel("plain-c gather", Gather, POWER_OF_TWO, gather_call, cost=Cost(per_output=2.5)),
)
