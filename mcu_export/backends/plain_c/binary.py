"""Kernel of plain-c for two operands that broadcast: plus, minus, times, maximum, minimum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.elements import shifted
from mcu_export.ops import Shape, elements
from mcu_export.ops.binary import operand_shapes
from mcu_export.program import Define


@dataclass(frozen=True)
class BinaryKernel:
    """Two operands; the texts are C expressions of ``first[...]`` and ``second[...]``."""

    about: str
    first_ctype: str
    second_ctype: str
    ctype: str
    elements: int
    first: str
    second: str
    result: str
    rounding: int
    out_shift: int
    low: int
    high: int


def operand_index(shape: Shape, out: Shape) -> str:
    """C index of an operand for element ``i`` of the output, row-major, broadcast as in numpy.

    Neighboring axes that are all kept or all broadcast count as one: of (H, W, C), the operand
    (C,) is read at ``i % C``, (H, W, 1) at ``i / C``, (H, 1, C) at ``i / (W * C) * C + i % C``.
    """
    full = (1,) * (len(out) - len(shape)) + tuple(shape)
    terms = []
    for kept, run in groupby(range(len(out)), key=lambda axis: full[axis] == out[axis]):
        axes = list(run)
        size, inner = elements(out[axes[0] : axes[-1] + 1]), elements(out[axes[-1] + 1 :])
        if kept and size > 1:
            index = "i" if inner == 1 else f"i / {inner}"
            index += "" if axes[0] == 0 else f" % {size}"
            stride = elements(full[axes[-1] + 1 :])
            terms.append(index if stride == 1 else f"{index} * {stride}")
    return " + ".join(terms) or "0"


_RESULT = {
    "plus": "first_value + second_value",
    "minus": "first_value - second_value",
    "maximum": "(first_value > second_value) ? first_value : second_value",
    "minimum": "(first_value < second_value) ? first_value : second_value",
    "times": "first_value * second_value",
}


def binary_call(context: LayerContext) -> Call:
    """Plus, minus, maximum, minimum and times."""
    a = context.arithmetic
    shapes = operand_shapes(context.shapes, context.params)
    how = getattr(a, "how", "times")
    texts = [
        shifted(f"{name}[{operand_index(shape, context.shape)}]", shift)
        for name, shape, shift in zip(
            ("first", "second"), shapes, getattr(a, "shifts", (0, 0)), strict=True
        )
    ]
    result = _RESULT[how]
    if getattr(context.op, "swapped", False):
        result = "second_value - first_value"
    ctypes = context.in_ctypes
    if "operand" in context.params:
        ctypes += (context.param_ctype("operand"),)
    kernel = BinaryKernel(
        about=how,
        first_ctype=ctypes[0],
        second_ctype=ctypes[1],
        ctype=context.ctype,
        elements=elements(context.shape),
        first=texts[0],
        second=texts[1],
        result=result,
        rounding=(1 << a.out_shift) >> 1,
        out_shift=a.out_shift,
        low=a.low,
        high=a.high,
    )
    second, consts = context.inputs[-1], []
    if "operand" in context.params:
        consts.append(context.const("operand", context.params["operand"], "as the input"))
        second = consts[0].name
    return Call(
        how,
        arguments=(context.inputs[0], second, context.output),
        source=("plain_c/binary.c.j2", kernel),
        defines=(Define(context.macro("OUT_SHIFT"), a.out_shift, "right, of the result"),),
        consts=tuple(consts),
        in_place=elements(shapes[0]) == elements(context.shape) and ctypes[0] == context.ctype,
    )
