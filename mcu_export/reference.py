"""The bit-exact oracle: each layer's integer arithmetic, stated once, in numpy.

Every backend's C must give these integers. Sums of products run through floating-point matrix
products, which are exact because the proven bound of the accumulator is below the 24 or 53 bits
of the significand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.errors import InternalError
from mcu_export.graph import Node
from mcu_export.ops import (
    UNLIMITED,
    Add,
    Array,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Gather,
    MaxPool2D,
    Op,
    Pad,
    Reshape,
    Softmax,
    Transpose,
    TransposeConv2D,
)
from mcu_export.ops.pool import window_counts
from mcu_export.ops.windows import pad_image, taps
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.reference_affine import AFFINE_LAYERS
from mcu_export.reference_elements import ELEMENT_LAYERS, shift_left, shift_right
from mcu_export.schemes.arithmetic import Accumulate, Average, ExpSum, Keep, Sum

Layer = Callable[[Node, Any, list[Array], Mapping[str, Array]], Array]

EXACT_FLOAT32 = 2**24
RANDOM_SAMPLES = 32


def run_reference(quant: QuantGraph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the integer network for a batch of integer inputs; int64 arrays."""
    values = {name: np.asarray(array, np.int64) for name, array in inputs.items()}
    for node in quant.nodes:
        values[node.name] = run_layer(node, [values[i] for i in node.node.inputs])
    return values


def run_batches(quant: QuantGraph, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """:func:`run_reference` batch by batch, for sets of samples of any size."""
    for batch in batches(quant.graph, inputs):
        yield run_reference(quant, batch)


def run_layer(node: QuantNode, inputs: list[Array]) -> Array:
    """Output of one layer, int64, within the limits of its format."""
    layer = AFFINE_LAYERS.get(type(node.arithmetic)) or LAYERS[type(node.node.op)]
    out = layer(node.node, node.arithmetic, inputs, node.params)
    if out.size and not (node.format.lowest <= out.min() and out.max() <= node.format.highest):
        raise InternalError("the reference left the output format", where=node.name)
    return out


def quantize_inputs(quant: QuantGraph, samples: Mapping[str, Array]) -> dict[str, Array]:
    """Samples as integers (int64); integers of an input's own type are quantized already.

    Other integers, such as the bytes of an image for a 16-bit input, are real values.
    """
    formats = quant.input_formats
    return {
        name: array.astype(np.int64)
        if array.dtype == formats[name].dtype
        else formats[name].quantize(array)
        for name, array in samples.items()
    }


def dequantize_inputs(quant: QuantGraph, samples: Mapping[str, Array]) -> dict[str, Array]:
    """Samples as real values (float32); the other way round than :func:`quantize_inputs`."""
    formats = quant.input_formats
    return {
        name: (
            formats[name].dequantize(array) if array.dtype == formats[name].dtype else array
        ).astype(np.float32)
        for name, array in samples.items()
    }


def random_inputs(quant: QuantGraph, count: int = RANDOM_SAMPLES) -> dict[str, Array]:
    """Integers of the whole range of each input's format, always the same ones."""
    generator = np.random.default_rng(0)
    return {
        tensor.name: generator.integers(
            quant.input_formats[tensor.name].lowest,
            quant.input_formats[tensor.name].highest,
            (count, *tensor.shape),
            endpoint=True,
        )
        for tensor in quant.graph.inputs
    }


def _accumulate(
    node: Node, a: Accumulate, inputs: list[Array], params: Mapping[str, Array]
) -> Array:
    """Conv, depthwise, dense: the float op on integers, then the shift."""
    dtype = np.float32 if a.bound < EXACT_FLOAT32 else np.float64
    weights = params["weights"].astype(dtype)
    bias = (params["bias"] << a.bias_shift).astype(dtype)
    linear = replace(node.op, limits=UNLIMITED)  # type: ignore[call-arg]
    acc = linear.compute([inputs[0].astype(dtype)], {"weights": weights, "bias": bias})
    out: Array = np.clip(shift_right(acc.astype(np.int64), a.out_shift), a.low, a.high)
    return out


def _sum(node: Node, a: Sum, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    first, second = (shift_left(x, n) for x, n in zip(inputs, a.shifts, strict=True))
    acc = first + second
    out: Array = np.clip(shift_right(acc, a.out_shift), a.low, a.high)
    return out


def _average(node: Node, a: Average, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    op = node.op
    assert isinstance(op, AveragePool2D)
    views = taps(pad_image(inputs[0], op.padding), op.kernel, op.strides, (1, 1))
    total = np.sum(views, axis=0) << max(a.shift, 0)
    counts = window_counts(inputs[0].shape[1:], op.kernel, op.strides, op.padding)
    divisor = (counts << max(-a.shift, 0))[None, :, :, None]
    magnitude = (np.abs(total) + divisor // 2) // divisor
    out: Array = np.clip(np.sign(total) * magnitude, a.low, a.high)
    return out


def _max(node: Node, a: Keep, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    op = node.op
    assert isinstance(op, MaxPool2D)
    padded = pad_image(inputs[0], op.padding, np.iinfo(np.int64).min)
    out: Array = np.max(taps(padded, op.kernel, op.strides, (1, 1)), axis=0)
    return np.clip(out, a.low, a.high)


def _move(node: Node, a: Keep, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    """Reshape, pad and lone activations: what the float op does to integers."""
    op = node.op
    moved = inputs[0] if isinstance(op, Clamp) else op.compute(inputs, params)
    return np.clip(moved, a.low, a.high)


def _softmax(node: Node, a: ExpSum, inputs: list[Array], params: Mapping[str, Array]) -> Array:
    below = inputs[0].max(axis=-1, keepdims=True) - inputs[0]
    if a.fine:
        raised = (_look_up(a.table, below >> 8) * _look_up(a.fine, below & 255)) >> 15
    else:
        raised = _look_up(a.table, below)
    total = raised.sum(axis=-1, keepdims=True)
    out: Array = np.minimum(((raised << a.frac_bits) + (total >> 1)) // total, a.high)
    return out


def _look_up(table: tuple[int, ...], index: Array) -> Array:
    """``table[index]``, 0 beyond its end."""
    padded = np.array([*table, 0], np.int64)
    return padded[np.minimum(index, len(table))]


LAYERS: dict[type[Op], Layer] = {
    Conv2D: _accumulate,
    DepthwiseConv2D: _accumulate,
    Dense: _accumulate,
    Add: _sum,
    AveragePool2D: _average,
    MaxPool2D: _max,
    Clamp: _move,
    Pad: _move,
    Reshape: _move,
    Softmax: _softmax,
    TransposeConv2D: _accumulate,
    Gather: _move,
    Transpose: _move,
    **ELEMENT_LAYERS,
}
