"""plain-c for int8 and int16x8: layers that work element by element, and softmax."""

from __future__ import annotations

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.affine_kernels import (
    CurveKernel,
    PairKernel,
    RequantizeKernel,
    ShareKernel,
    TwoSlopesKernel,
    offset_text,
)
from mcu_export.backends.plain_c.binary import operand_index
from mcu_export.backends.plain_c.elements import function_call
from mcu_export.backends.plain_c.sums import RESCALE
from mcu_export.ops import (
    elements,
)
from mcu_export.program import Const
from mcu_export.schemes.affine_arithmetic import (
    Curve,
    ExpShareWide,
    TwoSlopes,
)
from mcu_export.schemes.affine_functions import curve_table
from mcu_export.schemes.element_arithmetic import Interpolate, Lookup


def in_ctype(context: LayerContext) -> str:
    """C type of an element of the first input."""
    return f"{context.formats[0].dtype}_t"


def pair_fields(
    context: LayerContext,
) -> tuple[dict[str, object], tuple[str, str], tuple[Const, ...]]:
    """Fields of :class:`PairKernel` but the scaling, C names of both operands, constants."""
    a = context.arithmetic
    names, shapes = list(context.inputs), list(context.shapes)
    ctypes = [f"{fmt.dtype}_t" for fmt in context.formats]
    consts: tuple[Const, ...] = ()
    if len(names) == 1:
        consts = (context.const("operand", context.params["operand"], "constant operand"),)
        names.append(consts[0].name)
        shapes.append(tuple(context.params["operand"].shape))
        ctypes.append(consts[0].ctype)
    if getattr(context.op, "swapped", False):
        names, shapes, ctypes = names[::-1], shapes[::-1], ctypes[::-1]
    fields = {
        "ctype": context.ctype,
        "first_ctype": ctypes[0],
        "second_ctype": ctypes[1],
        "elements": elements(context.shape),
        "first_index": operand_index(shapes[0], context.shape),
        "second_index": operand_index(shapes[1], context.shape),
        "first_offset": offset_text(a.offsets[0]),
        "second_offset": offset_text(a.offsets[1]),
        "output_offset": offset_text(a.output_offset),
        "low": a.low,
        "high": a.high,
    }
    return fields, (names[0], names[1]), consts


def product_layer(context: LayerContext) -> Call:
    """Product."""
    a = context.arithmetic
    fields, names, consts = pair_fields(context)
    kernel = PairKernel(**fields, multiplier=a.multiplier, shift=a.shift)  # type: ignore[arg-type]
    return _pair_call(context, "product", kernel, names, consts)


def _pair_call(
    context: LayerContext,
    function: str,
    kernel: PairKernel,
    names: tuple[str, str],
    consts: tuple[Const, ...],
) -> Call:
    whole = kernel.first_index == "i" and names[0] == context.inputs[0]
    return Call(
        function,
        arguments=(*names, context.output),
        source=(f"plain_c/affine_{function}.c.j2", kernel),
        consts=consts,
        in_place=whole and kernel.first_ctype == kernel.ctype,
        helpers=(RESCALE,),
    )


def requantize_fields(context: LayerContext) -> dict[str, object]:
    """Fields of :class:`RequantizeKernel` but the scaling."""
    a = context.arithmetic
    return {
        "in_ctype": in_ctype(context),
        "ctype": context.ctype,
        "elements": elements(context.shape),
        "input_offset": offset_text(a.input_offset),
        "output_offset": offset_text(a.output_offset),
        "low": a.low,
        "high": a.high,
    }


def requantize_layer(context: LayerContext) -> Call:
    """The same values in another format."""
    a = context.arithmetic
    fields = requantize_fields(context)
    kernel = RequantizeKernel(**fields, multiplier=a.multiplier, shift=a.shift)  # type: ignore[arg-type]
    return Call(
        "requantize",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/affine_requantize.c.j2", kernel),
        in_place=kernel.in_ctype == kernel.ctype,
        helpers=(RESCALE,),
    )


def function_layer(context: LayerContext) -> Call:
    """Logistic, tanh and the like, by their kind of arithmetic."""
    a = context.arithmetic
    if isinstance(a, Lookup | Interpolate):
        return function_call(context)
    if isinstance(a, Curve):
        table = Const(
            context.name("table"), "uint16_t", np.array(curve_table()), "2^16 / (1 + e^(-i / 24))"
        )
        return _table_call(context, "curve", _curve(a, elements(context.shape)), (table,))
    assert isinstance(a, TwoSlopes)
    fields = requantize_fields(context)
    slopes = TwoSlopesKernel(
        **fields,  # type: ignore[arg-type]
        multiplier=a.multipliers[0],
        shift=a.shifts[0],
        negative_multiplier=a.multipliers[1],
        negative_shift=a.shifts[1],
    )
    return _table_call(context, "two_slopes", slopes, (), (RESCALE,))


def _curve(a: Curve, count: int) -> CurveKernel:
    """The numbers of the fixed-point kernel: 8 bits between the points for tanh, 9 else."""
    bits = 8 if a.tanh else 9
    return CurveKernel(
        what="Tanh" if a.tanh else "Logistic function",
        elements=count,
        multiplier=a.multiplier,
        half=(1 << a.shift) >> 1,
        shift=a.shift,
        bits=bits,
        mask=(1 << bits) - 1,
        saturated=0xFFFF << 8 if a.tanh else 0x7FFF << 10,
        above=(1 << 7) - (1 << 23) if a.tanh else 1 << 9,
        below=(1 << 23) + (1 << 7) - 1 if a.tanh else (1 << 25) + (1 << 9) - 1,
        out_shift=8 if a.tanh else 10,
    )


def _table_call(
    context: LayerContext,
    function: str,
    kernel: object,
    consts: tuple[Const, ...],
    helpers: tuple[str, ...] = (),
) -> Call:
    return Call(
        function,
        arguments=(context.inputs[0], *(const.name for const in consts), context.output),
        source=(f"plain_c/affine_{function}.c.j2", kernel),
        consts=consts,
        in_place=in_ctype(context) == context.ctype,
        helpers=helpers,
    )


def softmax_layer(context: LayerContext) -> Call:
    """Softmax with 8 or 16 bits."""
    a = context.arithmetic
    row = context.shape[-1]
    rows = elements(context.shape) // row
    if isinstance(a, ExpShareWide):
        consts = (
            Const(context.name("exp"), "int16_t", np.array(a.exp_table), "e^x, 513 points, Q0.15"),
            Const(
                context.name("reciprocal"),
                "int16_t",
                np.array(a.reciprocal_table),
                "1 / (1 + x), 513 points, Q0.15",
            ),
        )
        kernel = ShareKernel(rows, row, 0, a.multiplier, a.shift)
        helpers = (RESCALE, "plain_c/affine_interpolate.c.j2")
        return _table_call(context, "softmax_wide", kernel, consts, helpers)
    exps = Const(
        context.name("exp"), "int32_t", np.array(a.exps), "e^-i of the input's step, Q0.31"
    )
    kernel = ShareKernel(rows, row, len(a.exps))
    return _table_call(context, "softmax", kernel, (exps,), (RESCALE,))


def changes_format(context: LayerContext) -> bool:
    """The output has another format than the input."""
    return bool(context.layer.format != context.formats[0])
