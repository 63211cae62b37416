"""int8, int16x8 and int4 from a float network: formats from observed ranges, integer constants.

After the TensorFlow Lite quantization specification: activations of 8 bits asymmetric with zero
exactly an integer, of 16 bits symmetric; weights of 8 bits symmetric without -128, a scale for each
output channel; bias on the scale of the accumulator. Weights of 4 bits are symmetric without -8; a
channel's scale is that with the least squared error, as a few saturated weights cost less than
wide steps for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from mcu_export.calibrate import Observed, Ranges
from mcu_export.graph import Graph, Node
from mcu_export.ops import (
    Array,
    AveragePool2D,
    Conv2D,
    Convert,
    Dense,
    DepthwiseConv2D,
    ElementFunction,
    Gather,
    Logistic,
    MaxPool2D,
    Op,
    Pad,
    Reshape,
    Softmax,
    Tanh,
    Transpose,
    TransposeConv2D,
)
from mcu_export.quantgraph import QuantGraph
from mcu_export.range_methods import kl_limit, percentile_limit
from mcu_export.schemes.affine import assemble
from mcu_export.schemes.formats import Affine, Format, PerChannel
from mcu_export.schemes.widths import INT4

# Bits of activations.
AFFINE_SCHEMES = {"int8": 8, "int4": 8, "int16x8": 16}
BIAS_MAX = 2**30
TABLE_STEP = 128
# Parts of the observed range that the least-squares search tries.
SHARES = np.linspace(1.0, 0.3, 29)

# Layers that int4 gives weights of 4 bits.
FOUR_BITS: tuple[type[Op], ...] = (Conv2D, DepthwiseConv2D, Dense)

# Layers that move or compare values: the output has the format of the input.
KEEPING: tuple[type[Op], ...] = (
    *(Reshape, MaxPool2D, AveragePool2D, Pad, Gather, Transpose, Convert),
)
CHANNEL_AXIS: dict[type[Op], int] = {
    Conv2D: 0,
    DepthwiseConv2D: 2,
    TransposeConv2D: 0,
    Dense: 0,
}
ChooseRange = Callable[[Observed, int], tuple[float, float]]


def minmax_range(seen: Observed, bits: int) -> tuple[float, float]:
    """All that was observed."""
    return seen.low, seen.high


def mse_range(seen: Observed, bits: int) -> tuple[float, float]:
    """The part of the observed range with the least squared error over the histogram."""
    centers, counts = seen.centers(), seen.counts
    best, least = (seen.low, seen.high), math.inf
    for share in SHARES:
        low, high = seen.low * share, seen.high * share
        step = (high - low) / (2**bits - 1)
        beyond = np.maximum(centers - high, 0) + np.maximum(low - centers, 0)
        error = float((counts * np.where(beyond > step / 2, beyond**2, step**2 / 12)).sum())
        if error < least:
            best, least = (low, high), error
    return best


def percentile_range(seen: Observed, bits: int) -> tuple[float, float]:
    """The observed range, within the magnitude that one value in 10,000 exceeds."""
    return _within(seen, percentile_limit(seen))


def kl_range(seen: Observed, bits: int) -> tuple[float, float]:
    """The part of the observed range with the least KL divergence of the quantized histogram."""
    limits = [seen.largest * share for share in SHARES]
    return _within(seen, kl_limit(seen, bits, limits))


def _within(seen: Observed, limit: float) -> tuple[float, float]:
    return max(seen.low, -limit), min(seen.high, limit)


RANGES: dict[str, ChooseRange] = {
    "mse": mse_range,
    "minmax": minmax_range,
    "percentile": percentile_range,
    "kl": kl_range,
}


def activation_format(low: float, high: float, bits: int) -> Affine:
    """The format for values in a range, which is widened to contain zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    largest = max(-low, high)
    if largest == 0:
        return Affine(bits, 1.0, 0)
    if bits == 16:
        return Affine(16, _scale(largest / (2**15 - 1)), 0)
    scale = _scale((high - low) / 255)
    zero = math.floor(-128 - low / scale + 0.5)
    return Affine(8, scale, min(max(zero, -128), 127))


def _scale(scale: float) -> float:
    """A float32 number, at least the smallest normal one."""
    return float(np.float32(max(scale, 2.0**-120)))


def fixed_format(op: Op, bits: int) -> Affine | None:
    """The output format that the specification prescribes for an op, if it does."""
    if isinstance(op, Softmax | Logistic):
        return Affine(8, 1 / 256, -128) if bits == 8 else Affine(16, 2.0**-15, 0)
    if isinstance(op, Tanh):
        return Affine(8, 1 / 128, 0) if bits == 8 else Affine(16, 2.0**-15, 0)
    return None


def quantize_affine(graph: Graph, ranges: Ranges, scheme: str, calibration: str) -> QuantGraph:
    """The integer network of a float one.

    Args:
        graph: the float network after the passes.
        ranges: what every value was observed to do.
        scheme: one of :data:`AFFINE_SCHEMES`.
        calibration: one of :data:`RANGES`.

    Raises:
        UnsupportedLayerError: a layer that the scheme has no arithmetic for.
    """
    bits, choose = AFFINE_SCHEMES[scheme], RANGES[calibration]
    formats = {
        tensor.name: activation_format(*choose(ranges[tensor.name], bits), bits)
        for tensor in graph.inputs
    }
    constants: dict[str, Mapping[str, tuple[Array, Format]]] = {}
    for node in graph.nodes:
        low, high = choose(ranges[node.name], bits)
        if bits == 16 and isinstance(node.op, ElementFunction):
            low, high = _with_table(node.op, formats[node.inputs[0]], low, high)
        observed = activation_format(low, high, bits)
        if isinstance(node.op, KEEPING):
            formats[node.name] = formats[node.inputs[0]]
        else:
            formats[node.name] = fixed_format(node.op, bits) or observed
        weight_bits = 4 if scheme == INT4 and isinstance(node.op, FOUR_BITS) else 8
        constants[node.name] = _constants(node, formats, bits, weight_bits)
    return assemble(graph, scheme, formats, constants)


def _with_table(op: ElementFunction, x: Affine, low: float, high: float) -> tuple[float, float]:
    """A range in which no point of the function's table saturates: it is interpolated between."""
    points = op.of(x.dequantize(np.arange(x.lowest, x.highest + 2, TABLE_STEP)))
    return min(low, float(points.min())), max(high, float(points.max()))


def _constants(
    node: Node, formats: Mapping[str, Affine], bits: int, weight_bits: int
) -> dict[str, tuple[Array, Format]]:
    """Integer constants of a layer with their formats."""
    params = {role: np.asarray(array, np.float64) for role, array in node.params.items()}
    if "operand" in params:
        operand = params["operand"]
        fmt = activation_format(float(operand.min()), float(operand.max()), bits)
        return {"operand": (fmt.quantize(operand), fmt)}
    if "alpha" in params:
        slopes = params["alpha"]
        fmt = activation_format(float(slopes.min()), float(slopes.max()), 8)
        return {"alpha": (fmt.quantize(slopes), fmt)}
    if "weights" not in params:
        return {}
    weights, bias = params["weights"], params["bias"]
    input_scale = formats[node.inputs[0]].scale
    scales, axis = _weight_scales(node.op, weights, bias, input_scale, weight_bits)
    weights_format = PerChannel(weight_bits, scales, axis)
    bias_format = PerChannel(
        32 if bits == 8 else 64, tuple(input_scale * scale for scale in scales), 0
    )
    most = weights_format.highest
    integers = np.clip(weights_format.quantize(weights), -most, most)
    return {
        "weights": (integers, weights_format),
        "bias": (bias_format.quantize(bias), bias_format),
    }


def _weight_scales(
    op: Op, weights: Array, bias: Array, input_scale: float, bits: int
) -> tuple[tuple[float, ...], int]:
    """Scales and their axis; large enough that the bias fits its integers with a bit to spare."""
    axis = CHANNEL_AXIS[type(op)]
    by_channel = np.moveaxis(weights, axis, 0).reshape(len(bias), -1)
    most = 2 ** (bits - 1) - 1
    by_weights = np.abs(by_channel).max(axis=1) / most
    if bits == 4:
        by_weights = by_weights * _least_error_shares(by_channel, by_weights, most)
    by_bias = np.abs(bias) / (input_scale * BIAS_MAX)
    needed = np.maximum(by_weights, by_bias)
    return tuple(_scale(float(scale)) for scale in needed), axis


def _least_error_shares(by_channel: Array, scales: Array, most: int) -> Array:
    """For each row the share of its scale with the least squared error of the integers."""
    errors = []
    for share in SHARES:
        step = np.maximum(scales * share, np.finfo(np.float32).tiny)[:, None]
        rounded = np.clip(np.round(by_channel / step), -most, most) * step
        errors.append(np.square(rounded - by_channel).sum(axis=1))
    best: Array = SHARES[np.argmin(errors, axis=0)]
    return best
