"""int8 and int16x8: from the formats of all tensors to the arithmetic of every layer.

The formats come with a ``.tflite`` file or from :mod:`mcu_export.schemes.affine_formats`; what
follows from them is the same. Sources: the TensorFlow Lite quantization specification; the
multipliers are computed in double from float32 scales, as TFLite's ``Prepare`` functions do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Graph, Node
from mcu_export.ops import (
    Add,
    Array,
    AveragePool2D,
    Clamp,
    Concatenate,
    Conv2D,
    Convert,
    Dense,
    DepthwiseConv2D,
    Gather,
    Limits,
    MaxPool2D,
    Mean,
    Multiply,
    Op,
    Pad,
    Plus,
    Reshape,
    Shape,
    Softmax,
    Subtract,
    Transpose,
    TransposeConv2D,
    elements,
)
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.schemes.affine_arithmetic import (
    Fill,
    Requantize,
    Scaled,
    ScaledJoin,
    ScaledMean,
    ScaledProduct,
    ScaledSum,
)
from mcu_export.schemes.affine_functions import element_function, softmax
from mcu_export.schemes.arithmetic import Arithmetic, Average, Keep
from mcu_export.schemes.fixed_point import INT32_MAX, quantize_multiplier
from mcu_export.schemes.formats import Affine, Format, PerChannel
from mcu_export.schemes.power_of_two_elements import FUNCTIONS

# TFLite Micro (and CMSIS-NN), or the interpreter of recent TensorFlow releases, in which a dense
# layer rounds once and an element-wise product has a multiplier of float32 precision.
MICRO, INTERPRETER = "TensorFlow Lite Micro", "TensorFlow Lite interpreter"
WIDE_MAX = 2**47 - 1  # what the 64-bit accumulator may hold so that rescaling fits 64 bits
Constants = Mapping[str, tuple[Array, Format]]


@dataclass(frozen=True)
class AffineValue:
    """What a layer knows of an input: its format and the integers it can really take."""

    format: Affine
    low: int
    high: int

    @property
    def largest(self) -> int:
        """Largest absolute value once the zero point is taken off."""
        return max(self.format.zero_point - self.low, self.high - self.format.zero_point)


@dataclass(frozen=True)
class Task:
    """A layer whose arithmetic is wanted.

    ``like`` names whose kernels are repeated where they differ: ``MICRO`` or ``INTERPRETER``.
    """

    node: Node
    inputs: tuple[AffineValue, ...]
    shapes: tuple[Shape, ...]
    out: Affine
    constants: Constants
    like: str

    def fail(self, what: str, fix: str = "") -> UnsupportedLayerError:
        """The error that this layer cannot be run."""
        return UnsupportedLayerError(
            what, where=f"layer {self.node.name!r} ({self.node.op.kind})", fix=fix
        )

    def limits(self) -> tuple[int, int]:
        """The limits of a fused activation as integers of the output format."""
        limits: Limits = getattr(self.node.op, "limits", Limits())
        low, high = self.out.lowest, self.out.highest
        if not math.isinf(limits.low):
            low = int(self.out.quantize(np.array(limits.low)))
        if not math.isinf(limits.high):
            high = int(self.out.quantize(np.array(limits.high)))
        return low, high

    def require_same_format(self) -> None:
        """Raise unless the output has the format of every input."""
        for value in self.inputs:
            if value.format != self.out:
                raise self.fail(
                    f"its input is {value.format.text()}, its output {self.out.text()}; "
                    "they must be equal",
                    "quantize the network with a current TensorFlow Lite converter",
                )


Maker = Callable[[Task], Arithmetic]


def assemble(
    graph: Graph,
    scheme: str,
    formats: Mapping[str, Affine],
    constants: Mapping[str, Constants],
    like: str = MICRO,
) -> QuantGraph:
    """The integer network for given formats and integer constants.

    Args:
        graph: the float network.
        scheme: ``int8`` or ``int16x8``.
        formats: of every value.
        constants: for each node its integer constants with their formats.
        like: whose kernels are repeated where they differ.

    Raises:
        UnsupportedLayerError: a layer without integer arithmetic, or formats that cannot be.
    """
    known = {t.name: _whole(formats[t.name]) for t in graph.inputs}
    shapes = graph.shapes()
    nodes = []
    for node in graph.nodes:
        inputs = tuple(known[name] for name in node.inputs)
        own = constants.get(node.name, {})
        seen = tuple(shapes[name] for name in node.inputs)
        task = Task(node, inputs, seen, formats[node.name], own, like)
        maker = MAKERS.get(type(node.op))
        if maker is None:
            raise task.fail(f"the affine schemes have no integer arithmetic for {node.op.kind}")
        arithmetic = maker(task)
        known[node.name] = AffineValue(task.out, arithmetic.low, arithmetic.high)
        nodes.append(
            QuantNode(
                node,
                task.out,
                arithmetic,
                {role: array for role, (array, _) in own.items()},
                {role: fmt for role, (_, fmt) in own.items()},
            )
        )
    return QuantGraph(graph, scheme, {t.name: formats[t.name] for t in graph.inputs}, tuple(nodes))


def _whole(fmt: Affine) -> AffineValue:
    return AffineValue(fmt, fmt.lowest, fmt.highest)


# Axes of the weights that one output sums over.
_TAPS = {Conv2D: (1, 2, 3), DepthwiseConv2D: (0, 1), Dense: (1,), TransposeConv2D: (1, 2, 3)}


def _scaled(task: Task) -> Scaled:
    (x,) = task.inputs
    weights, weights_format = task.constants["weights"]
    bias, bias_format = task.constants["bias"]
    assert isinstance(weights_format, PerChannel)
    dense = isinstance(task.node.op, Dense)
    factors = [
        _weight_factor(x.format.scale, scale, dense and len(weights_format.scales) == 1)
        / task.out.scale
        for scale in weights_format.scales
    ]
    pairs = [quantize_multiplier(factor) for factor in factors]
    sums = np.abs(weights).sum(axis=_TAPS[type(task.node.op)]) * x.largest + np.abs(bias)
    bound = int(sums.max())
    wide = bias_format.bits == 64
    most_left = max(0, *(shift for _, shift in pairs))
    if bound > (WIDE_MAX if wide else INT32_MAX >> most_left):
        raise task.fail(
            f"its accumulator can reach {bound}, more than {'48' if wide else '32'} bits hold",
            "train with smaller weights, or retrain with quantization",
        )
    low, high = task.limits()
    return Scaled(
        input_offset=-x.format.zero_point,
        multipliers=tuple(multiplier for multiplier, _ in pairs),
        shifts=tuple(shift for _, shift in pairs),
        rounding=_rounding(task, wide, bound),
        acc_bits=64 if wide else 32,
        output_offset=task.out.zero_point,
        low=low,
        high=high,
        bound=bound,
    )


def _rounding(task: Task, wide: bool, bound: int) -> str:
    if isinstance(task.node.op, Dense) and task.like == INTERPRETER and bound <= INT32_MAX:
        return "single"
    return "wide" if wide else "double"


def _weight_factor(input_scale: float, weight_scale: float, in_float32: bool) -> float:
    """Product of the scales; a dense layer with one scale multiplies in float32, as TFLite does."""
    if in_float32:
        return float(np.float32(input_scale) * np.float32(weight_scale))
    return input_scale * weight_scale


def _operand(task: Task) -> tuple[AffineValue, AffineValue]:
    if len(task.inputs) == 2:
        return task.inputs[0], task.inputs[1]
    array, fmt = task.constants["operand"]
    assert isinstance(fmt, Affine)
    return task.inputs[0], AffineValue(fmt, int(array.min()), int(array.max()))


def _sum(task: Task) -> ScaledSum:
    """Both inputs on twice the larger scale, with ``left_shift`` bits below the point."""
    first, second = _operand(task)
    left_shift = 20 if task.out.bits == 8 else 15
    twice = 2 * max(first.format.scale, second.format.scale)
    out_factor = twice / ((1 << left_shift) * task.out.scale)
    factors = (first.format.scale / twice, second.format.scale / twice, out_factor)
    most = max(first.largest, second.largest)
    if out_factor >= 1 or most << left_shift > INT32_MAX:
        raise task.fail("the scale of its output is far too small for that of its inputs")
    pairs = [quantize_multiplier(factor) for factor in factors]
    bound = sum(
        math.ceil(value.largest * (1 << left_shift) * factor) + 1
        for value, factor in zip((first, second), factors, strict=False)
    )
    low, high = task.limits()
    op = task.node.op
    swapped = isinstance(op, Subtract) and op.swapped
    if swapped:
        first, second = second, first
        pairs = [pairs[1], pairs[0], pairs[2]]
    return ScaledSum(
        offsets=(-first.format.zero_point, -second.format.zero_point),
        left_shift=left_shift,
        multipliers=(pairs[0][0], pairs[1][0], pairs[2][0]),
        shifts=(pairs[0][1], pairs[1][1], pairs[2][1]),
        sign=-1 if isinstance(op, Subtract) else 1,
        output_offset=task.out.zero_point,
        low=low,
        high=high,
        bound=bound,
    )


def _product(task: Task) -> ScaledProduct:
    first, second = _operand(task)
    precision = np.float32 if task.like == INTERPRETER else np.float64
    scales = (precision(fmt.scale) for fmt in (first.format, second.format, task.out))
    multiplier, shift = quantize_multiplier(_product_factor(*scales))
    bound = first.largest * second.largest
    if bound << max(shift, 0) > INT32_MAX:
        raise task.fail("the scale of its output is far too small for that of its inputs")
    low, high = task.limits()
    offsets = (-first.format.zero_point, -second.format.zero_point)
    return ScaledProduct(offsets, multiplier, shift, task.out.zero_point, low, high, bound)


def _product_factor(first: Any, second: Any, out: Any) -> float:
    return float(first * second / out)


def _mean(task: Task) -> ScaledMean:
    """The multiplier of the formats divided by the count, exactly as TFLite divides it."""
    (x,) = task.inputs
    count = elements(task.shapes[0][:2])
    multiplier, shift = quantize_multiplier(x.format.scale / task.out.scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    bound = count * max(x.largest, abs(x.low), abs(x.high))
    if bound << max(shift - extra, 0) > INT32_MAX:
        raise task.fail(f"the sum of {count} elements does not fit 32 bits", "pool in two steps")
    return ScaledMean(
        input_offset=-x.format.zero_point * count,
        multiplier=(multiplier << extra) // count,
        shift=shift - extra,
        output_offset=task.out.zero_point,
        low=task.out.lowest,
        high=task.out.highest,
        bound=bound,
    )


def _average(task: Task) -> Average:
    task.require_same_format()
    (x,) = task.inputs
    op = task.node.op
    assert isinstance(op, AveragePool2D)
    count = elements(op.kernel)
    bound = count * max(abs(x.low), abs(x.high)) + count // 2
    if bound > INT32_MAX:
        raise task.fail(f"the sum of {count} elements does not fit 32 bits", "pool in two steps")
    return Average(0, *task.limits(), bound)


def _keep(task: Task) -> Keep:
    task.require_same_format()
    return Keep(*task.limits())


def _fill(task: Task) -> Fill:
    task.require_same_format()
    (x,) = task.inputs
    zero = x.format.zero_point
    return Fill(zero, min(x.low, zero), max(x.high, zero))


def requantize(x: AffineValue, out: Affine, low: int, high: int) -> Requantize:
    """The same real values in the format ``out``."""
    multiplier, shift = quantize_multiplier(x.format.scale / out.scale)
    return Requantize(-x.format.zero_point, multiplier, shift, out.zero_point, low, high)


def _requantize(task: Task) -> Requantize | Keep:
    (x,) = task.inputs
    low, high = task.limits()
    if x.format == task.out and isinstance(task.node.op, Clamp):
        return Keep(low, high)
    made = requantize(x, task.out, low, high)
    if x.largest << max(made.shift, 0) > INT32_MAX:
        raise task.fail("the scale of its output is far too small for that of its input")
    return made


def _join(task: Task) -> ScaledJoin:
    low, high = task.out.lowest, task.out.highest
    parts = tuple(
        None if value.format == task.out else requantize(value, task.out, low, high)
        for value in task.inputs
    )
    return ScaledJoin(parts, low, high)


def _function(task: Task) -> Arithmetic:
    (x,) = task.inputs
    return element_function(task.node.op, x.format, task.out)


def _softmax(task: Task) -> Arithmetic:
    (x,) = task.inputs
    assert isinstance(task.node.op, Softmax)
    return softmax(task.node.op.beta, x.format, task.out, task.node.shape[-1])


MAKERS: dict[type[Op], Maker] = {
    Conv2D: _scaled,
    DepthwiseConv2D: _scaled,
    TransposeConv2D: _scaled,
    Dense: _scaled,
    Add: _sum,
    Plus: _sum,
    Subtract: _sum,
    Multiply: _product,
    Mean: _mean,
    AveragePool2D: _average,
    MaxPool2D: _keep,
    Clamp: _requantize,
    Convert: _requantize,
    Pad: _fill,
    Reshape: _keep,
    Gather: _keep,
    Transpose: _keep,
    Concatenate: _join,
    **dict.fromkeys(FUNCTIONS, _function),
    Softmax: _softmax,
}
