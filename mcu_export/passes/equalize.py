"""Cross-layer equalization: channels take up the range that their tensor has, exactly in float.

A positive factor per channel passes through ReLU, max and average pooling and reshapes, so it can
be multiplied into the layer before and divided out of the layer after. Channels with small values
then use the whole range of the format. Source: Nagel et al. 2019, "Data-Free Quantization", section
4.1; there the factors follow from the weights, here from the values that samples gave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from mcu_export.graph import Graph, Node, rebuild, run_float
from mcu_export.ops import (
    Array,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Params,
    Reshape,
)

# Axis of the output channels in the weights.
OUTPUT_AXIS = {Conv2D: 0, DepthwiseConv2D: 2, Dense: 0}
PASSES_FACTORS = (AveragePool2D, MaxPool2D, Clamp, Reshape)
# Factors stay in [1 / LIMIT, LIMIT], and channels that hardly ever differ from zero keep theirs.
LIMIT = 16.0
SMALLEST = 1e-4


def equalize(graph: Graph, samples: Mapping[str, Array], strength: float = 0.5) -> Graph:
    """The same float function with channels of more equal range.

    Args:
        graph: the network after all other passes.
        samples: real inputs, (samples, *shape) each; the values seen on them set the factors.
        strength: 0 changes nothing, 1 gives all channels of a tensor the same range.
    """
    largest = {name: _largest(value) for name, value in run_float(graph, samples).items()}
    nodes = {node.name: node for node in graph.nodes}
    changed = False
    for first, last in pairs(graph):
        factors = channel_factors(largest[first], strength)
        if np.all(factors == 1.0):
            continue
        nodes[first] = _scale_output(nodes[first], factors)
        nodes[last] = _scale_input(nodes[last], 1.0 / factors)
        changed = True
    return rebuild(graph, [nodes[node.name] for node in graph.nodes]) if changed else graph


def channel_factors(largest: Array, strength: float) -> Array:
    """Powers of the channels' ranges with geometric mean 1, float64; 1 where nothing was seen."""
    used = largest > SMALLEST * float(np.max(largest, initial=0.0))
    factors = np.ones(len(largest))
    if not used.any():
        return factors
    logs = -strength * np.log(largest[used].astype(np.float64))
    factors[used] = np.clip(np.exp(logs - logs.mean()), 1 / LIMIT, LIMIT)
    return factors


def pairs(graph: Graph) -> Iterator[tuple[str, str]]:
    """Layers (first, last) between which a positive factor per channel changes nothing.

    All that lies between has one reader and lets factors through. An upper limit (ReLU6) does not:
    there a factor would move the limit of each channel.
    """
    consumers = graph.consumers()
    for node in graph.nodes:
        if type(node.op) not in OUTPUT_AXIS or not _lets_through(node):
            continue
        now = node
        while True:
            readers = consumers[now.name]
            if len(readers) != 1 or now.name in graph.outputs:
                break
            before, now = now, readers[0]
            if type(now.op) in OUTPUT_AXIS:
                if _channels_divide(before, now, node.shape[-1]):
                    yield node.name, now.name
                break
            if not isinstance(now.op, PASSES_FACTORS) or not _lets_through(now):
                break


def _lets_through(node: Node) -> bool:
    """Whether the layer's limits are those of ReLU, or none."""
    limits = getattr(node.op, "limits", None)
    return limits is None or (math.isinf(limits.high) and limits.low in (0.0, -math.inf))


def _channels_divide(before: Node, last: Node, channels: int) -> bool:
    """Whether channel c of the first layer is still at every index c modulo ``channels``."""
    same = before.shape[-1] == channels
    return same or (isinstance(last.op, Dense) and before.shape[-1] % channels == 0)


def _largest(value: Array) -> Array:
    """Largest absolute value of each channel."""
    largest: Array = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
    return largest


def _scale_output(node: Node, factors: Array) -> Node:
    weights = np.asarray(node.params["weights"], np.float64)
    shape = [1] * weights.ndim
    shape[OUTPUT_AXIS[type(node.op)]] = -1
    bias = np.asarray(node.params["bias"], np.float64) * factors
    return replace(node, params=_params(node, weights * factors.reshape(shape), bias))


def _scale_input(node: Node, factors: Array) -> Node:
    """Depthwise output c reads input c // multiplier; a dense layer reads channel by channel."""
    weights = np.asarray(node.params["weights"], np.float64)
    size = weights.shape[2 if isinstance(node.op, DepthwiseConv2D) else -1]
    if isinstance(node.op, DepthwiseConv2D):
        factors = np.repeat(factors, size // len(factors))
    else:
        factors = np.tile(factors, size // len(factors))
    return replace(node, params=_params(node, weights * factors, node.params["bias"]))


def _params(node: Node, weights: Array, bias: Array) -> Params:
    """In float32, as loaded."""
    return {**node.params, "weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
