"""The table of plain-c for int8 and int16x8: layers with weights and element-wise layers."""

from __future__ import annotations

import numpy as np

from mcu_export.backends.base import Call, Kernel, LayerContext
from mcu_export.backends.plain_c.affine_kernels import (
    CurveKernel,
    PairKernel,
    RequantizeKernel,
    ScaledDenseKernel,
    ScaledTransposeKernel,
    ScaledWindowKernel,
    ShareKernel,
    SumKernel,
    TwoSlopesKernel,
    offset_text,
)
from mcu_export.backends.plain_c.affine_moves import MOVES
from mcu_export.backends.plain_c.elements import function_call
from mcu_export.backends.plain_c.kernels import window_of
from mcu_export.ops import (
    Add,
    Array,
    Clamp,
    Conv2D,
    Convert,
    Dense,
    DepthwiseConv2D,
    Multiply,
    Plus,
    Shape,
    Softmax,
    Subtract,
    TransposeConv2D,
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
from mcu_export.schemes.fixed_point import INT32_MAX, narrow_multiplier
from mcu_export.schemes.power_of_two_elements import FUNCTIONS

AFFINE = frozenset({"int8", "int16x8"})
RESCALE = "plain_c/affine_rescale.c.j2"
HELPERS = {
    "double": ("rescale", RESCALE),
    "single": ("rescale_single", "plain_c/affine_rescale_single.c.j2"),
    "wide": ("rescale_wide", "plain_c/affine_rescale_wide.c.j2"),
}


def _in_ctype(context: LayerContext, which: int = 0) -> str:
    return f"{context.formats[which].dtype}_t"


def _common(context: LayerContext, input_offset: int) -> dict[str, object]:
    """The fields of :class:`ScaledKernel`."""
    a = context.arithmetic
    return {
        "in_ctype": _in_ctype(context),
        "acc_ctype": f"int{a.acc_bits}_t",
        "ctype": context.ctype,
        "input_offset": offset_text(input_offset),
        "rescale": HELPERS[a.rounding][0],
        "channel": "channel" if len(a.multipliers) > 1 else "0",
        "output_offset": offset_text(a.output_offset),
        "low": a.low,
        "high": a.high,
    }


def _folded_bias(context: LayerContext, axes: tuple[int, ...], padded: bool) -> tuple[Array, int]:
    """Bias with the input offset in it where that is possible, and the offset that is left.

    A padded window skips what lies outside, so there the offset belongs to each element. The
    folded sums stay within 32 bits by the same bound, taken with the raw inputs.
    """
    a, bias, weights = context.arithmetic, context.params["bias"], context.params["weights"]
    if padded or a.input_offset == 0:
        return bias, a.input_offset
    folded = bias + a.input_offset * weights.sum(axis=axes)
    largest = max(abs(context.formats[0].lowest), context.formats[0].highest)
    bound = np.abs(folded) + np.abs(weights).sum(axis=axes) * largest
    return (bias, a.input_offset) if bound.max() > INT32_MAX else (folded, 0)


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
    bias, offset = _folded_bias(context, (1, 2, 3), window.padded)
    kernel = ScaledWindowKernel(**_common(context, offset), window=window)  # type: ignore[arg-type]
    return _scaled_call(context, "conv2d", kernel, "out, h, w, in", bias)


def _depthwise(context: LayerContext) -> Call:
    weights = context.params["weights"]
    window = window_of(context, (weights.shape[0], weights.shape[1]))
    bias, offset = _folded_bias(context, (0, 1), window.padded)
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
    bias, offset = _folded_bias(context, (1,), padded=False)
    kernel = ScaledDenseKernel(
        **_common(context, offset),  # type: ignore[arg-type]
        rows=elements(context.shape) // weights.shape[0],
        in_size=weights.shape[1],
        out_size=weights.shape[0],
    )
    return _scaled_call(context, "dense", kernel, "out, in", bias)


def _index(shape: Shape, out: Shape) -> str:
    """C index of an operand for output element i; a shorter one repeats."""
    return "i" if elements(shape) == elements(out) else f"i % {elements(shape)}"


def _repeats(shape: Shape, out: Shape) -> bool:
    """Whether the operand, without leading axes of 1, is what the output ends with."""
    core = shape
    while core and core[0] == 1:
        core = core[1:]
    return not core or tuple(out[-len(core) :]) == core


def operands_repeat(context: LayerContext) -> bool:
    """A shorter operand must repeat as a whole: (C) or (W, C) along (H, W, C)."""
    shapes = [*context.shapes, *(tuple(a.shape) for a in context.params.values())]
    return all(_repeats(shape, context.shape) for shape in shapes)


def _pair(context: LayerContext) -> tuple[dict[str, object], tuple[str, str], tuple[Const, ...]]:
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
        "first_index": _index(shapes[0], context.shape),
        "second_index": _index(shapes[1], context.shape),
        "first_offset": offset_text(a.offsets[0]),
        "second_offset": offset_text(a.offsets[1]),
        "output_offset": offset_text(a.output_offset),
        "low": a.low,
        "high": a.high,
    }
    return fields, (names[0], names[1]), consts


def _sum(context: LayerContext) -> Call:
    a = context.arithmetic
    fields, names, consts = _pair(context)
    kernel = SumKernel(
        **fields,  # type: ignore[arg-type]
        multiplier=a.multipliers[2],
        shift=a.shifts[2],
        what="Sum" if a.sign > 0 else "Difference",
        unit=1 << a.left_shift,
        sign="+" if a.sign > 0 else "-",
        first_multiplier=a.multipliers[0],
        first_shift=a.shifts[0],
        second_multiplier=a.multipliers[1],
        second_shift=a.shifts[1],
    )
    return _pair_call(context, "sum", kernel, names, consts)


def _product(context: LayerContext) -> Call:
    a = context.arithmetic
    fields, names, consts = _pair(context)
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


def _requantize_fields(context: LayerContext) -> dict[str, object]:
    a = context.arithmetic
    return {
        "in_ctype": _in_ctype(context),
        "ctype": context.ctype,
        "elements": elements(context.shape),
        "input_offset": offset_text(a.input_offset),
        "output_offset": offset_text(a.output_offset),
        "low": a.low,
        "high": a.high,
    }


def _requantize(context: LayerContext) -> Call:
    a = context.arithmetic
    fields = _requantize_fields(context)
    kernel = RequantizeKernel(**fields, multiplier=a.multiplier, shift=a.shift)  # type: ignore[arg-type]
    return Call(
        "requantize",
        arguments=(context.inputs[0], context.output),
        source=("plain_c/affine_requantize.c.j2", kernel),
        in_place=kernel.in_ctype == kernel.ctype,
        helpers=(RESCALE,),
    )


def _function(context: LayerContext) -> Call:
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
    fields = _requantize_fields(context)
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
        in_place=_in_ctype(context) == context.ctype,
        helpers=helpers,
    )


def _softmax(context: LayerContext) -> Call:
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


AFFINE_KERNELS = (
    Kernel("plain-c conv2d", Conv2D, AFFINE, _conv2d),
    Kernel("plain-c depthwise_conv2d", DepthwiseConv2D, AFFINE, _depthwise),
    Kernel("plain-c transpose_conv2d", TransposeConv2D, AFFINE, _transpose_conv2d),
    Kernel("plain-c dense", Dense, AFFINE, _dense),
    Kernel("plain-c sum", Add, AFFINE, _sum),
    Kernel("plain-c sum", Plus, AFFINE, _sum, (operands_repeat,)),
    Kernel("plain-c sum", Subtract, AFFINE, _sum, (operands_repeat,)),
    Kernel("plain-c product", Multiply, AFFINE, _product, (operands_repeat,)),
    Kernel("plain-c requantize", Clamp, AFFINE, _requantize, (changes_format,)),
    Kernel("plain-c requantize", Convert, AFFINE, _requantize, (changes_format,)),
    *(Kernel("plain-c function", op, AFFINE, _function) for op in FUNCTIONS),
    Kernel("plain-c softmax", Softmax, AFFINE, _softmax),
    *MOVES,
)
