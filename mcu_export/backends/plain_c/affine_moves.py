"""The table of plain-c for int8 and int16x8: layers that move, compare or average values."""

from __future__ import annotations

from mcu_export.backends.base import Call, Kernel, LayerContext
from mcu_export.backends.cost import Cost
from mcu_export.backends.plain_c.affine_kernels import (
    FillKernel,
    JoinKernel,
    MeanKernel,
    PartKernel,
    offset_text,
)
from mcu_export.backends.plain_c.elements import gather_call, transpose_call
from mcu_export.backends.plain_c.kernels import ClampKernel, image_elements
from mcu_export.backends.plain_c.pools import affine_average_pool, max_pool
from mcu_export.backends.plain_c.sums import RESCALE
from mcu_export.ops import (
    AveragePool2D,
    Clamp,
    Concatenate,
    Convert,
    Gather,
    MaxPool2D,
    Mean,
    Pad,
    Reshape,
    Transpose,
    elements,
)

AFFINE = frozenset({"int8", "int16x8"})


def _clamp(context: LayerContext) -> Call:
    a = context.arithmetic
    kernel = ClampKernel(context.ctype, elements(context.shape), a.low, a.high)
    return Call(
        "clamp",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/clamp.c.j2", kernel),
        in_place=True,
    )


def _nothing(context: LayerContext) -> Call:
    return Call("")


def fill_call(context: LayerContext) -> Call:
    """Padding with the integer of a value."""
    (shape,), out, padding = context.shapes, context.shape, context.op.padding
    kernel = FillKernel(
        context.ctype,
        value=context.arithmetic.value,
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
        source=("plain_c/affine_pad.c.j2", kernel),
    )


def _mean(context: LayerContext) -> Call:
    a, shape = context.arithmetic, context.shapes[0]
    kernel = MeanKernel(
        f"{context.formats[0].dtype}_t",
        context.ctype,
        count=shape[0] * shape[1],
        channels=shape[2],
        input_offset=a.input_offset,
        multiplier=a.multiplier,
        shift=a.shift,
        output_offset=offset_text(a.output_offset),
        low=a.low,
        high=a.high,
    )
    return Call(
        "mean",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/affine_mean.c.j2", kernel),
        helpers=(RESCALE,),
    )


def _join(context: LayerContext) -> Call:
    axis, a = context.op.axis, context.arithmetic
    parts = []
    for shape, fmt, made in zip(context.shapes, context.formats, a.parts, strict=True):
        run, ctype = elements(shape[axis:]), f"{fmt.dtype}_t"
        if made is None:
            parts.append(PartKernel(ctype, run, same=True))
        else:
            offsets = offset_text(made.input_offset), offset_text(made.output_offset)
            scaling = made.multiplier, made.shift
            parts.append(PartKernel(ctype, run, False, offsets[0], *scaling, offsets[1]))
    kernel = JoinKernel(context.ctype, elements(context.shape[:axis]), tuple(parts), a.low, a.high)
    return Call(
        "join",
        arguments=(*context.inputs, context.output),
        source=("plain_c/affine_join.c.j2", kernel),
        helpers=() if all(part.same for part in parts) else (RESCALE,),
    )


def keeps_format(context: LayerContext) -> bool:
    """The output has the format of the input."""
    return bool(context.layer.format == context.formats[0])


_NOTHING = "no code: same memory"
MOVES = (
    Kernel(
        "plain-c max_pool2d",
        MaxPool2D,
        AFFINE,
        max_pool,
        cost=Cost(per_window=3.9),
        wide=Cost(per_window=4),
    ),
    Kernel(
        "plain-c average_pool2d",
        AveragePool2D,
        AFFINE,
        affine_average_pool,
        cost=Cost(per_output=5.5, per_window=2.3),
    ),
    Kernel(
        "plain-c pad", Pad, AFFINE, fill_call, cost=Cost(per_output=0.6), wide=Cost(per_output=1.1)
    ),
    Kernel("plain-c mean", Mean, AFFINE, _mean, cost=Cost(0, 4.4)),
    Kernel("plain-c join", Concatenate, AFFINE, _join, cost=Cost(per_output=4)),
    Kernel("plain-c gather", Gather, AFFINE, gather_call, cost=Cost(per_output=2.5)),
    Kernel("plain-c transpose", Transpose, AFFINE, transpose_call, cost=Cost(per_output=4.8)),
    Kernel("plain-c clamp", Clamp, AFFINE, _clamp, (keeps_format,), Cost(per_output=5)),
    Kernel(_NOTHING, Convert, AFFINE, _nothing, (keeps_format,)),
    Kernel(_NOTHING, Reshape, AFFINE, _nothing),
)
