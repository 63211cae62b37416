"""q7 and q15: every tensor has frac bits, every rescaling is a shift.

Formats are chosen from what calibration observed; then one function per op, in topological
order, makes the integers and the shifts. A shift that would be negative, or an accumulator that
could overflow, costs frac bits, never correctness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Node
from mcu_export.ops import (
    Add,
    Array,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Gather,
    Limits,
    MaxPool2D,
    Op,
    Pad,
    Reshape,
    Softmax,
    Transpose,
    TransposeConv2D,
)
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.affine_arithmetic import Fill
from mcu_export.schemes.arithmetic import Accumulate, Average, ExpSum, Keep, Sum
from mcu_export.schemes.formats import PowerOfTwo

ACCUMULATOR_MAX = 2**31 - 1
MAX_SHIFT = 30
SUM_BITS = 29


def frac_bits_for(largest: float, bits: int) -> int:
    """Most frac bits with which ``largest`` is stored without saturating by more than rounding.

    ``bits - 1 - ceil(log2(largest))``; an exact power of two is the one value that saturates, by
    one step (as Arm's tools store it). All zero gives ``bits - 1``.
    """
    if largest == 0:
        return bits - 1
    mantissa, exponent = math.frexp(largest)
    return bits - 1 - (exponent - 1 if mantissa == 0.5 else exponent)


@dataclass(frozen=True)
class Value:
    """What a layer knows of an input: its format and the integers it can really take."""

    format: PowerOfTwo
    low: int
    high: int

    @property
    def largest(self) -> int:
        """Largest absolute integer."""
        return max(-self.low, self.high)


Maker = Callable[[Node, list[Value], PowerOfTwo, Mapping[str, PowerOfTwo]], QuantNode]


def integer_limits(limits: Limits, fmt: PowerOfTwo) -> tuple[int, int]:
    """The limits of a fused activation as integers of the output format."""
    low = fmt.lowest if math.isinf(limits.low) else int(fmt.quantize(np.array(limits.low)))
    high = fmt.highest if math.isinf(limits.high) else int(fmt.quantize(np.array(limits.high)))
    return low, high


def shift_to(fmt: PowerOfTwo, frac_bits: int) -> int:
    """Left shift that brings integers of ``fmt`` to ``frac_bits``.

    A negative one is a right shift that rounds half up. One by all bits leaves 0 of every integer,
    as any further one would; C cannot shift by 32 and more.
    """
    return max(frac_bits - fmt.frac_bits, -fmt.bits)


def common_frac_bits(formats: Sequence[PowerOfTwo]) -> int:
    """Frac bits at which integers of all formats are added: those of the finest.

    Where they are very far apart, the finest loses bits that lie far below the step of the others:
    none may need more than 29 bits.
    """
    finest = max(fmt.frac_bits for fmt in formats)
    return min(finest, *(fmt.frac_bits + SUM_BITS - fmt.bits for fmt in formats))


def _taps_axes(op: Op) -> tuple[int, ...]:
    """Axes of the weights that one output sums over."""
    return {Conv2D: (1, 2, 3), DepthwiseConv2D: (0, 1), Dense: (1,), TransposeConv2D: (1, 2, 3)}[
        type(op)
    ]


def accumulator_bound(
    x: Value, weights: Array, axes: tuple[int, ...], bias: Array, rounding: int
) -> int:
    """Largest magnitude of the sum of any of the terms, for any inputs that ``x`` can be.

    That is the accumulator in any order of summation, also where parts are summed apart. A product
    is at most ``w * high`` for a positive weight and ``w * low`` for a negative one; behind a ReLU
    ``low`` is 0, so that weights of one sign alone reach either end.

    Args:
        x: what the input can be; padding adds zeros.
        weights: integers.
        axes: of the weights that one output sums over.
        bias: at the scale of the accumulator, one for each output.
        rounding: what is added before the shift.
    """
    low, high = min(x.low, 0), max(x.high, 0)
    positive = np.maximum(weights, 0).sum(axis=axes)
    negative = np.minimum(weights, 0).sum(axis=axes)
    most = positive * high + negative * low + np.maximum(bias, 0) + rounding
    least = positive * low + negative * high + np.minimum(bias, 0)
    return max(int(most.max()), -int(least.min()))


def _accumulate(
    node: Node, inputs: list[Value], wanted: PowerOfTwo, param_formats: Mapping[str, PowerOfTwo]
) -> QuantNode:
    """Conv, depthwise, dense; frac bits of the weights are lowered until the bound is proven."""
    (x,) = inputs
    weight_bits = param_formats["weights"].frac_bits
    # out_shift above MAX_SHIFT would shift everything out: such weights need fewer frac bits.
    weight_bits = min(weight_bits, MAX_SHIFT + wanted.frac_bits - x.format.frac_bits)
    while True:
        total = x.format.frac_bits + weight_bits
        weights_format = replace(param_formats["weights"], frac_bits=weight_bits)
        bias_bits = max(min(param_formats["bias"].frac_bits, total), total - MAX_SHIFT)
        bias_format = replace(param_formats["bias"], frac_bits=bias_bits)
        out_format = replace(wanted, frac_bits=min(wanted.frac_bits, total))
        weights = weights_format.quantize(node.params["weights"])
        bias = bias_format.quantize(node.params["bias"])
        bias_shift, out_shift = total - bias_format.frac_bits, total - out_format.frac_bits
        bound = accumulator_bound(
            x, weights, _taps_axes(node.op), bias * 2**bias_shift, (1 << out_shift) >> 1
        )
        if bound <= ACCUMULATOR_MAX:
            break
        weight_bits -= 1
    low, high = integer_limits(node.op.limits, out_format)  # type: ignore[attr-defined]
    return QuantNode(
        node,
        out_format,
        Accumulate(bias_shift, out_shift, low, high, bound),
        {"weights": weights, "bias": bias},
        {"weights": weights_format, "bias": bias_format},
    )


def _add(
    node: Node, inputs: list[Value], wanted: PowerOfTwo, _: Mapping[str, PowerOfTwo]
) -> QuantNode:
    assert isinstance(node.op, Add)
    first, second = inputs
    common = common_frac_bits([first.format, second.format])
    out_format = PowerOfTwo(wanted.bits, max(min(wanted.frac_bits, common), common - MAX_SHIFT))
    out_shift = common - out_format.frac_bits
    shifts = (shift_to(first.format, common), shift_to(second.format, common))
    bound = (1 << out_shift) >> 1
    for value, shift in zip(inputs, shifts, strict=True):
        bound += math.ceil(value.largest * 2.0**shift) + 1
    low, high = integer_limits(node.op.limits, out_format)
    return QuantNode(node, out_format, Sum(shifts, out_shift, low, high, bound), {}, {})


def _average(
    node: Node, inputs: list[Value], wanted: PowerOfTwo, _: Mapping[str, PowerOfTwo]
) -> QuantNode:
    assert isinstance(node.op, AveragePool2D)
    (x,) = inputs
    count = node.op.kernel[0] * node.op.kernel[1]
    shift = wanted.frac_bits - x.format.frac_bits
    while _average_bound(count, x.largest, shift) > ACCUMULATOR_MAX:
        if shift == 0:
            raise UnsupportedLayerError(
                f"the sum of a window of {count} elements does not fit 32 bits",
                where=f"layer {node.name!r} ({node.op.kind})",
                fix="pool in two steps",
            )
        shift += -1 if shift > 0 else 1
    bound = int(_average_bound(count, x.largest, shift))
    out_format = PowerOfTwo(wanted.bits, x.format.frac_bits + shift)
    low, high = integer_limits(node.op.limits, out_format)
    return QuantNode(node, out_format, Average(shift, low, high, bound), {}, {})


def _average_bound(count: int, largest: int, shift: int) -> float:
    """Numerator and rounding of ``(sum << shift) / count``, or the divisor for a negative shift."""
    return count * largest * 2.0 ** max(shift, 0) + count * 2.0 ** max(-shift, 0)


def _keep(
    node: Node, inputs: list[Value], wanted: PowerOfTwo, _: Mapping[str, PowerOfTwo]
) -> QuantNode:
    """The output has the format of the input, whatever was wanted."""
    (x,) = inputs
    if isinstance(node.op, Pad) and node.op.value:
        value = int(x.format.quantize(np.array(node.op.value)))
        fill = Fill(value, min(x.low, value), max(x.high, value))
        return QuantNode(node, x.format, fill, {}, {})
    limits = getattr(node.op, "limits", Limits())
    low, high = integer_limits(limits, x.format)
    seen = (min(x.low, 0), max(x.high, 0)) if isinstance(node.op, Pad) else (x.low, x.high)
    keep = Keep(max(low, min(seen[0], high)), min(high, max(seen[1], low)))
    return QuantNode(node, x.format, keep, {}, {})


def _softmax(
    node: Node, inputs: list[Value], wanted: PowerOfTwo, _: Mapping[str, PowerOfTwo]
) -> QuantNode:
    """Probabilities with all bits but the sign as frac bits; e is in Q15 of the table."""
    assert isinstance(node.op, Softmax)
    (x,) = inputs
    out_format = PowerOfTwo(wanted.bits, wanted.bits - 1)
    step = node.op.beta * 2.0**-x.format.frac_bits
    table = exp_table(step if x.format.bits == 8 else step * 256, 256)
    fine = exp_table(step, 256) if x.format.bits == 16 else ()
    row = node.shape[-1]
    bound = row * 2**15
    if bound > ACCUMULATOR_MAX:
        raise UnsupportedLayerError(
            f"softmax over {row} elements: the sum does not fit 32 bits",
            where=f"layer {node.name!r} ({node.op.kind})",
        )
    arithmetic = ExpSum(table, fine, out_format.frac_bits, 0, out_format.highest, bound)
    return QuantNode(node, out_format, arithmetic, {}, {})


def exp_table(step: float, size: int) -> tuple[int, ...]:
    """``round(2**15 * exp(-step * i))`` for i in 0 .. size - 1, without the zeros at the end."""
    values: Array = np.floor(2.0**15 * np.exp(-step * np.arange(size)) + 0.5).astype(np.int64)
    return tuple(int(v) for v in values if v > 0)


MAKERS: dict[type[Op], Maker] = {
    Conv2D: _accumulate,
    DepthwiseConv2D: _accumulate,
    Dense: _accumulate,
    TransposeConv2D: _accumulate,
    Gather: _keep,
    Transpose: _keep,
    Add: _add,
    AveragePool2D: _average,
    MaxPool2D: _keep,
    Clamp: _keep,
    Pad: _keep,
    Reshape: _keep,
    Softmax: _softmax,
}
