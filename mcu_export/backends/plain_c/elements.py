"""Kernels of plain-c for layers that work element by element, and for those that move them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.kernels import AccumulateKernel, accumulate_fields
from mcu_export.ops import Shape, elements
from mcu_export.program import Const


@dataclass(frozen=True)
class FunctionKernel:
    """A function from a table; ``interpolated`` for inputs of 16 bits."""

    in_ctype: str
    ctype: str
    elements: int
    interpolated: bool


@dataclass(frozen=True)
class SlopesKernel:
    """PReLU over rows of ``channels`` elements."""

    in_ctype: str
    alpha_ctype: str
    ctype: str
    rows: int
    channels: int
    slope: str
    one: int
    rounding: int
    out_shift: int
    low: int
    high: int


@dataclass(frozen=True)
class JoinPart:
    """One input of a concatenation: ``run`` elements in a row, with their shift as C."""

    ctype: str
    run: int
    moved: str


@dataclass(frozen=True)
class JoinKernel:
    """Concatenation: ``rounds`` times a run of each input."""

    ctype: str
    rounds: int
    parts: tuple[JoinPart, ...]
    low: int
    high: int


@dataclass(frozen=True)
class Axis:
    """One axis of a layer that moves elements: how many, and how far apart in the input."""

    variable: str
    size: int
    offset: str


@dataclass(frozen=True)
class MoveKernel:
    """Gather and transpose: ``axes`` from the outermost, and the C types of the tables."""

    about: str
    ctype: str
    axes: tuple[Axis, ...]
    tables: tuple[str, ...]


@dataclass(frozen=True)
class TransposeConvKernel(AccumulateKernel):
    """Transposed convolution."""

    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_top: int
    pad_left: int


def shifted(expression: str, shift: int) -> str:
    """``expression * 2**shift`` in C, rounded half up; shifting a negative left is undefined."""
    if shift == 0:
        return expression
    if shift > 0:
        return f"{expression} * {1 << shift}"
    return f"(({expression} + {1 << (-shift - 1)}) >> {-shift})"


def function_call(context: LayerContext) -> Call:
    """Lookup of all 256 values, or interpolation between 513 points."""
    a = context.arithmetic
    interpolated = len(a.table) != 256
    about = "513 points, 128 inputs apart" if interpolated else "output for each input from -128"
    table = Const(context.name("table"), context.ctype, np.array(a.table), about)
    kernel = FunctionKernel(
        context.in_ctypes[0], context.ctype, elements(context.shape), interpolated
    )
    return Call(
        "function",
        arguments=(context.inputs[0], table.name, context.output),
        source=("plain_c/function.c.j2", kernel),
        consts=(table,),
        in_place=context.in_ctypes == (context.ctype,),
    )


def slopes_call(context: LayerContext) -> Call:
    """PReLU."""
    a, alpha = context.arithmetic, context.params["alpha"]
    channels = context.shape[-1]
    kernel = SlopesKernel(
        context.in_ctypes[0],
        context.param_ctype("alpha"),
        context.ctype,
        rows=elements(context.shape) // channels,
        channels=channels,
        slope="channel" if alpha.size == channels else "0",
        one=1 << a.slope_frac_bits,
        rounding=(1 << a.out_shift) >> 1,
        out_shift=a.out_shift,
        low=a.low,
        high=a.high,
    )
    const = context.const("alpha", alpha, "channel")
    return Call(
        "prelu",
        arguments=(context.inputs[0], const.name, context.output),
        source=("plain_c/prelu.c.j2", kernel),
        consts=(const,),
        in_place=context.in_ctypes == (context.ctype,),
    )


def join_call(context: LayerContext) -> Call:
    """Concatenation."""
    a, axis = context.arithmetic, context.op.axis
    parts = tuple(
        JoinPart(ctype, elements(shape[axis:]), shifted(f"input{index}[i]", shift))
        for index, (ctype, shape, shift) in enumerate(
            zip(context.in_ctypes, context.shapes, a.shifts, strict=True)
        )
    )
    kernel = JoinKernel(context.ctype, elements(context.shape[:axis]), parts, a.low, a.high)
    return Call(
        "concatenate",
        arguments=(*context.inputs, context.output),
        source=("plain_c/concatenate.c.j2", kernel),
    )


def _strides(shape: Shape) -> list[int]:
    return [elements(shape[axis + 1 :]) for axis in range(len(shape))]


def transpose_call(context: LayerContext) -> Call:
    """Axes in another order: loops over the output, strides of the input."""
    strides = _strides(context.shapes[0])
    axes = tuple(
        Axis(f"i{place}", context.shape[place], f"i{place} * {strides[axis]}")
        for place, axis in enumerate(context.op.order)
    )
    order = ", ".join(str(axis) for axis in context.op.order)
    kernel = MoveKernel(f"Axes in the order {order}", context.ctype, axes, ())
    return Call(
        "transpose",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/move.c.j2", kernel),
    )


def gather_call(context: LayerContext) -> Call:
    """Elements with given indices: arithmetic where they are evenly apart, else a table."""
    axes, tables = [], []
    strides = _strides(context.shapes[0])
    for place, (chosen, stride) in enumerate(zip(context.op.indices, strides, strict=True)):
        offset = _even_offset(f"i{place}", chosen, stride)
        if not offset:
            offsets = np.array(chosen) * stride
            about = f"offset in the input for each index of axis {place}"
            tables.append(Const(context.name(f"axis_{place}"), "int32_t", offsets, about))
            offset = f"table{place}[i{place}]"
        axes.append(Axis(f"i{place}", len(chosen), offset))
    names = tuple(f"table{table.name.rsplit('_', 1)[1]}" for table in tables)
    kernel = MoveKernel("Chosen elements", context.ctype, tuple(axes), names)
    return Call(
        "gather",
        arguments=(context.inputs[0], *(table.name for table in tables), context.output),
        source=("plain_c/move.c.j2", kernel),
        consts=tuple(tables),
    )


def _even_offset(variable: str, chosen: tuple[int, ...], stride: int) -> str:
    """C expression of the offset where indices are evenly apart or repeat evenly; else empty."""
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 0
    if chosen == tuple(chosen[0] + step * i for i in range(len(chosen))):
        return f"{variable} * {step * stride} + {chosen[0] * stride}"
    repeat = chosen.count(chosen[0])
    if chosen == tuple(chosen[0] + i // repeat for i in range(len(chosen))):
        return f"{variable} / {repeat} * {stride} + {chosen[0] * stride}"
    return ""


def transpose_conv_kernel(context: LayerContext) -> TransposeConvKernel:
    """Geometry of a transposed convolution."""
    (shape,), out, weights = context.shapes, context.shape, context.params["weights"].shape
    op = context.op
    return TransposeConvKernel(
        **accumulate_fields(context),
        in_height=shape[0],
        in_width=shape[1],
        in_channels=shape[2],
        out_height=out[0],
        out_width=out[1],
        out_channels=out[2],
        kernel_height=weights[1],
        kernel_width=weights[2],
        stride_y=op.strides[0],
        stride_x=op.strides[1],
        pad_top=op.padding.top,
        pad_left=op.padding.left,
    )
