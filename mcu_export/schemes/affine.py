"""int8 and int16x8: from the formats of all tensors to the arithmetic of every layer.

The formats come with a ``.tflite`` file or from :mod:`mcu_export.schemes.affine_formats`; what
follows from them is the same. Sources: the TensorFlow Lite quantization specification; the
multipliers are computed in double from float32 scales, as TFLite's ``Prepare`` functions do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcu_export.graph import Graph
from mcu_export.ops import (
    Add,
    AveragePool2D,
    Clamp,
    Concatenate,
    Conv2D,
    Convert,
    Dense,
    DepthwiseConv2D,
    Gather,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Multiply,
    Op,
    Pad,
    Plus,
    PRelu,
    Reshape,
    Softmax,
    Subtract,
    SvdfFeatures,
    SvdfTime,
    Transpose,
    TransposeConv2D,
)
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.schemes.affine_arithmetic import (
    Scaled,
)
from mcu_export.schemes.affine_layers import (
    average_layer,
    fill_layer,
    function_layer,
    join_layer,
    keep_layer,
    mean_layer,
    product_layer,
    requantize_layer,
    softmax_layer,
    sum_layer,
)
from mcu_export.schemes.affine_select import select_layer, slopes_layer
from mcu_export.schemes.affine_svdf import features_layer, time_layer
from mcu_export.schemes.affine_task import (
    INTERPRETER,
    MICRO,
    AffineValue,
    Constants,
    Maker,
    Task,
)
from mcu_export.schemes.fixed_point import INT32_MAX, quantize_multiplier
from mcu_export.schemes.formats import Affine, PerChannel
from mcu_export.schemes.power_of_two_elements import FUNCTIONS

WIDE_MAX = 2**47 - 1  # what the 64-bit accumulator may hold so that rescaling fits 64 bits


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


MAKERS: dict[type[Op], Maker] = {
    Conv2D: _scaled,
    DepthwiseConv2D: _scaled,
    TransposeConv2D: _scaled,
    Dense: _scaled,
    Add: sum_layer,
    Plus: sum_layer,
    Subtract: sum_layer,
    Multiply: product_layer,
    Maximum: select_layer,
    Minimum: select_layer,
    PRelu: slopes_layer,
    Mean: mean_layer,
    AveragePool2D: average_layer,
    MaxPool2D: keep_layer,
    Clamp: requantize_layer,
    Convert: requantize_layer,
    Pad: fill_layer,
    Reshape: keep_layer,
    Gather: keep_layer,
    Transpose: keep_layer,
    Concatenate: join_layer,
    **dict.fromkeys(FUNCTIONS, function_layer),
    Softmax: softmax_layer,
    SvdfFeatures: features_layer,
    SvdfTime: time_layer,
}
