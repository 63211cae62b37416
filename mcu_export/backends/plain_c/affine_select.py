"""plain-c for int8 and int16x8: maximum, minimum and PReLU."""

from __future__ import annotations

from dataclasses import dataclass

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.affine_elements import in_ctype, requantize_fields
from mcu_export.backends.plain_c.affine_kernels import RequantizeKernel, offset_text
from mcu_export.backends.plain_c.binary import operand_index
from mcu_export.backends.plain_c.sums import RESCALE
from mcu_export.ops import Maximum, elements
from mcu_export.ops.binary import operand_shapes
from mcu_export.program import Const
from mcu_export.schemes.affine_arithmetic import Requantize


@dataclass(frozen=True)
class OperandKernel:
    """An operand: C text of an element, and its scaling where its format is not the output's."""

    ctype: str
    element: str
    same: bool
    multiplier: int = 0
    shift: int = 0
    output_offset: str = ""


@dataclass(frozen=True)
class SelectKernel:
    """The larger (``relation`` is ``>``) or the smaller of two values."""

    what: str
    relation: str
    ctype: str
    elements: int
    first: OperandKernel
    second: OperandKernel
    low: int
    high: int


@dataclass(frozen=True)
class SlopesKernel(RequantizeKernel):
    """Another factor below zero, with the slope of ``slope_index`` in it."""

    slope_ctype: str
    slope_index: str
    slope_offset: str
    slope_multiplier: int
    slope_shift: int


def select_layer(context: LayerContext) -> Call:
    """Maximum and minimum."""
    a, shapes = context.arithmetic, operand_shapes(context.shapes, context.params)
    names, ctypes = list(context.inputs), [f"{fmt.dtype}_t" for fmt in context.formats]
    consts: tuple[Const, ...] = ()
    if "operand" in context.params:
        const = context.const("operand", context.params["operand"], "constant operand")
        consts = (const,)
        names.append(const.name)
        ctypes.append(const.ctype)
    indices = [operand_index(shape, context.shape) for shape in shapes]
    first, second = (
        _operand(ctype, f"{name}[{index}]", part)
        for ctype, name, index, part in zip(
            ctypes, ("first", "second"), indices, a.parts, strict=True
        )
    )
    larger = isinstance(context.op, Maximum)
    kernel = SelectKernel(
        "Larger" if larger else "Smaller",
        ">" if larger else "<",
        context.ctype,
        elements(context.shape),
        first,
        second,
        a.low,
        a.high,
    )
    return Call(
        "select",
        arguments=(*names, context.output),
        source=("plain_c/affine_select.c.j2", kernel),
        consts=consts,
        in_place=indices[0] == "i" and ctypes[0] == context.ctype,
        helpers=() if first.same and second.same else (RESCALE,),
    )


def _operand(ctype: str, element: str, part: Requantize | None) -> OperandKernel:
    if part is None:
        return OperandKernel(ctype, element, same=True)
    centered = f"{element}{offset_text(part.input_offset)}"
    offset = offset_text(part.output_offset)
    return OperandKernel(ctype, centered, False, part.multiplier, part.shift, offset)


def slopes_layer(context: LayerContext) -> Call:
    """PReLU."""
    a, alpha = context.arithmetic, context.params["alpha"]
    const = context.const("alpha", alpha, "channel")
    kernel = SlopesKernel(
        **requantize_fields(context),  # type: ignore[arg-type]
        multiplier=a.multipliers[0],
        shift=a.shifts[0],
        slope_ctype=const.ctype,
        slope_index=operand_index(alpha.shape, context.shape),
        slope_offset=offset_text(a.slope_offset),
        slope_multiplier=a.multipliers[1],
        slope_shift=a.shifts[1],
    )
    return Call(
        "slopes",
        arguments=(context.inputs[0], const.name, context.output),
        source=("plain_c/affine_slopes.c.j2", kernel),
        consts=(const,),
        in_place=in_ctype(context) == context.ctype,
        helpers=(RESCALE,),
    )
