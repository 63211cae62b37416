"""q7 and q15 for layers that work element by element, and for joining tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mcu_export.graph import Node
from mcu_export.ops import (
    Array,
    Concatenate,
    Elu,
    Exponential,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Logistic,
    Maximum,
    Minimum,
    Mish,
    Multiply,
    Op,
    Plus,
    PRelu,
    Softplus,
    Softsign,
    Subtract,
    Swish,
    Tanh,
)
from mcu_export.ops.functions import ElementFunction
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.element_arithmetic import (
    Combine,
    Interpolate,
    Join,
    Lookup,
    Product,
    Slopes,
)
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import (
    MAX_SHIFT,
    Maker,
    Value,
    common_frac_bits,
    integer_limits,
    shift_to,
)

POINTS, STEP = 513, 128  # of an interpolated function
Formats = Mapping[str, PowerOfTwo]


def _function(node: Node, inputs: list[Value], wanted: PowerOfTwo, _: Formats) -> QuantNode:
    """A table of the function: all of it for an input of 8 bits, 513 points for one of 16."""
    assert isinstance(node.op, ElementFunction)
    (x,) = inputs
    steps = np.arange(256) if x.format.bits == 8 else np.arange(POINTS) * STEP
    integers = x.format.lowest + steps
    with np.errstate(over="ignore"):
        real = np.nan_to_num(node.op.of(x.format.dequantize(integers)))
    table = tuple(int(v) for v in wanted.quantize(real))
    kind = Lookup if x.format.bits == 8 else Interpolate
    return QuantNode(node, wanted, kind(table, min(table), max(table)), {}, {})


def operands(
    node: Node, inputs: list[Value], formats: Formats
) -> tuple[list[Value], dict[str, Array], dict[str, PowerOfTwo]]:
    """Both operands of a binary layer; a constant one is quantized here."""
    if len(inputs) == 2:
        return inputs, {}, {}
    fmt = formats["operand"]
    integers = fmt.quantize(node.params["operand"])
    constant = Value(fmt, int(integers.min()), int(integers.max()))
    return [*inputs, constant], {"operand": integers}, {"operand": fmt}


HOW: dict[type[Op], str] = {
    Plus: "plus",
    Subtract: "minus",
    Maximum: "maximum",
    Minimum: "minimum",
}


def _combine(node: Node, inputs: list[Value], wanted: PowerOfTwo, formats: Formats) -> QuantNode:
    """Both are shifted to the finer frac bits, as far as 32 bits allow."""
    both, params, param_formats = operands(node, inputs, formats)
    common = common_frac_bits([value.format for value in both])
    out_format = PowerOfTwo(wanted.bits, max(min(wanted.frac_bits, common), common - MAX_SHIFT))
    out_shift = common - out_format.frac_bits
    shifts = (shift_to(both[0].format, common), shift_to(both[1].format, common))
    bound = (1 << out_shift) >> 1
    for value, shift in zip(both, shifts, strict=True):
        bound += math.ceil(value.largest * 2.0**shift) + 1
    low, high = integer_limits(node.op.limits, out_format)  # type: ignore[attr-defined]
    arithmetic = Combine(HOW[type(node.op)], shifts, out_shift, low, high, bound)
    return QuantNode(node, out_format, arithmetic, params, param_formats)


def _product(node: Node, inputs: list[Value], wanted: PowerOfTwo, formats: Formats) -> QuantNode:
    assert isinstance(node.op, Multiply)
    both, params, param_formats = operands(node, inputs, formats)
    total = sum(value.format.frac_bits for value in both)
    out_format = PowerOfTwo(wanted.bits, max(min(wanted.frac_bits, total), total - MAX_SHIFT))
    out_shift = total - out_format.frac_bits
    bound = both[0].largest * both[1].largest + ((1 << out_shift) >> 1)
    low, high = integer_limits(node.op.limits, out_format)
    return QuantNode(node, out_format, Product(out_shift, low, high, bound), params, param_formats)


def _slopes(node: Node, inputs: list[Value], wanted: PowerOfTwo, formats: Formats) -> QuantNode:
    """PReLU; a slope has at most so many frac bits that ``x << frac_bits`` fits 31 bits."""
    (x,) = inputs
    bits = formats["alpha"].bits
    slope_format = PowerOfTwo(bits, max(0, min(formats["alpha"].frac_bits, bits - 1)))
    alpha = slope_format.quantize(node.params["alpha"])
    total = x.format.frac_bits + slope_format.frac_bits
    out_format = PowerOfTwo(wanted.bits, max(min(wanted.frac_bits, total), total - MAX_SHIFT))
    out_shift = total - out_format.frac_bits
    steepest = max(1 << slope_format.frac_bits, int(np.abs(alpha).max()))
    arithmetic = Slopes(
        slope_format.frac_bits,
        out_shift,
        out_format.lowest,
        out_format.highest,
        x.largest * steepest + ((1 << out_shift) >> 1),
    )
    return QuantNode(node, out_format, arithmetic, {"alpha": alpha}, {"alpha": slope_format})


def _join(node: Node, inputs: list[Value], wanted: PowerOfTwo, _: Formats) -> QuantNode:
    """All parts get the frac bits of the output; those far apart lose what they cannot hold."""
    formats = [value.format for value in inputs]
    least = max(fmt.frac_bits for fmt in formats) - MAX_SHIFT
    most = min(fmt.frac_bits + MAX_SHIFT - fmt.bits for fmt in formats)
    out = PowerOfTwo(wanted.bits, min(max(wanted.frac_bits, least), most))
    shifts = tuple(shift_to(fmt, out.frac_bits) for fmt in formats)
    return QuantNode(node, out, Join(shifts, out.lowest, out.highest), {}, {})


FUNCTIONS: tuple[type[Op], ...] = (
    Logistic,
    Tanh,
    LeakyRelu,
    HardSwish,
    Elu,
    Swish,
    HardSigmoid,
    Softplus,
    Softsign,
    Gelu,
    Exponential,
    Mish,
)

ELEMENT_MAKERS: dict[type[Op], Maker] = {
    **dict.fromkeys(FUNCTIONS, _function),
    **dict.fromkeys(HOW, _combine),
    Multiply: _product,
    PRelu: _slopes,
    Concatenate: _join,
}
