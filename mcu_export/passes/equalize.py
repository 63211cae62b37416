"""Cross-layer equalization: channels take up the range that their tensor has, exactly in float.

A positive factor per channel passes through ReLU, pooling, additions and reshapes, so it can
be multiplied into the layer before and divided out of the layer after. Channels with small values
then use the whole range of the format. Source: Nagel et al. 2019, "Data-Free Quantization", section
4.1; there the factors follow from the weights, here from the values that samples gave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.graph import Graph, Node, rebuild, run_float
from mcu_export.ops import (
    Add,
    Array,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Pad,
    Params,
    Reshape,
    Shape,
)

# Axis of the output channels in the weights.
OUTPUT_AXIS = {Conv2D: 0, DepthwiseConv2D: 2, Dense: 0}
PASSES_FACTORS = (Add, AveragePool2D, MaxPool2D, Clamp, Pad, Reshape)
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
    found = list(groups(graph))
    peaks = _peaks(graph, samples, found)
    largest = [np.max([peaks[name] for name in group.values], axis=0) for group in found]
    factors = [channel_factors(peak, strength) for peak in largest]
    return scaled(graph, list(zip(found, factors, strict=True)))


def scaled(graph: Graph, scales: Sequence[tuple[Group, Array]]) -> Graph:
    """The same function with the channels of groups multiplied by factors; ``graph`` if all are 1.

    Args:
        graph: the network.
        scales: groups, and a positive factor for each of their channels.
    """
    shapes, nodes = graph.shapes(), {node.name: node for node in graph.nodes}
    changing = [(group, factors) for group, factors in scales if np.any(factors != 1.0)]
    for group, factors in changing:
        nodes.update(scaled_group(nodes, group, factors, shapes))
    return rebuild(graph, [nodes[node.name] for node in graph.nodes]) if changing else graph


def scaled_group(
    nodes: Mapping[str, Node], group: Group, factors: Array, shapes: Mapping[str, Shape]
) -> dict[str, Node]:
    """The layers that write and read a group, with its channels multiplied by factors."""
    changed = {name: _scale_output(nodes[name], factors) for name in group.makers}
    for name in group.readers:
        node = changed.get(name, nodes[name])
        changed[name] = _scale_input(node, 1.0 / factors, shapes[node.inputs[0]][-1])
    return changed


def channel_factors(largest: Array, strength: float) -> Array:
    """Powers of the channels' ranges with geometric mean 1, float64; 1 where nothing was seen."""
    used = largest > SMALLEST * float(np.max(largest, initial=0.0))
    factors = np.ones(len(largest))
    if not used.any():
        return factors
    logs = -strength * np.log(largest[used].astype(np.float64))
    factors[used] = np.clip(np.exp(logs - logs.mean()), 1 / LIMIT, LIMIT)
    return factors


def output_peaks(node: Node) -> Array:
    """Largest absolute weight that makes each output channel, float64."""
    weights = np.abs(np.asarray(node.params["weights"], np.float64))
    axis = OUTPUT_AXIS[type(node.op)]
    peaks: Array = weights.max(axis=tuple(i for i in range(weights.ndim) if i != axis))
    return peaks


@dataclass(frozen=True)
class Group:
    """Values that must have the same factors, index modulo ``channels``.

    Attributes:
        values: all that carry the factors.
        makers: layers whose weights take the factors in.
        readers: layers whose weights divide them out.
    """

    channels: int
    values: tuple[str, ...]
    makers: tuple[str, ...]
    readers: tuple[str, ...]


def groups(graph: Graph) -> Iterator[Group]:
    """All groups of values whose channels can be scaled without changing the function.

    Every value comes from a layer with weights or from one that lets factors through, and goes
    only to such. An addition needs the same factors on both sides. An upper limit (ReLU6) lets
    none through: it would have to be another one for each channel.
    """
    leader = _leaders(graph)
    shapes, consumers = graph.shapes(), graph.consumers()
    members: dict[str, list[str]] = {}
    for name in shapes:
        members.setdefault(_find(leader, name), []).append(name)
    nodes = {node.name: node for node in graph.nodes}
    for values in members.values():
        if any(name not in nodes or name in graph.outputs for name in values):
            continue
        inside = [nodes[name] for name in values]
        readers = {r.name: r for name in values for r in consumers[name] if not _passes(r)}
        makers = [node for node in inside if type(node.op) in OUTPUT_AXIS]
        passing = all(_passes(node) or node in makers for node in inside)
        if not (makers and readers and passing and all(_lets_through(n) for n in inside)):
            continue
        if any(type(node.op) not in OUTPUT_AXIS for node in readers.values()):
            continue
        channels = min(node.shape[-1] for node in makers)
        if all(shapes[name][-1] % channels == 0 for name in values):
            yield Group(channels, tuple(values), tuple(n.name for n in makers), tuple(readers))


def _leaders(graph: Graph) -> dict[str, str]:
    """Union-find: values that layers without weights join point to a common leader."""
    leader = {name: name for name in graph.shapes()}
    for node in graph.nodes:
        if _passes(node):
            for name in node.inputs:
                leader[_find(leader, name)] = _find(leader, node.name)
    return leader


def _find(leader: Mapping[str, str], name: str) -> str:
    while leader[name] != name:
        name = leader[name]
    return name


def _passes(node: Node) -> bool:
    return isinstance(node.op, PASSES_FACTORS)


def _lets_through(node: Node) -> bool:
    """Whether the layer's limits are those of ReLU, or none."""
    limits = getattr(node.op, "limits", None)
    return limits is None or (math.isinf(limits.high) and limits.low in (0.0, -math.inf))


def _peaks(graph: Graph, samples: Mapping[str, Array], found: list[Group]) -> dict[str, Array]:
    """Largest absolute value of each channel of the values of all groups, batch by batch."""
    channels = {name: group.channels for group in found for name in group.values}
    peaks = {name: np.zeros(count, np.float32) for name, count in channels.items()}
    for batch in batches(graph, samples) if channels else ():
        real = run_float(graph, batch)
        for name, count in channels.items():
            largest = np.abs(real[name]).reshape(-1, count).max(axis=0)
            peaks[name] = np.maximum(peaks[name], largest)
    return peaks


def _scale_output(node: Node, factors: Array) -> Node:
    weights = np.asarray(node.params["weights"], np.float64)
    factors = np.tile(factors, node.shape[-1] // len(factors))
    shape = [1] * weights.ndim
    shape[OUTPUT_AXIS[type(node.op)]] = -1
    bias = np.asarray(node.params["bias"], np.float64) * factors
    return replace(node, params=_params(node, weights * factors.reshape(shape), bias))


def _scale_input(node: Node, factors: Array, channels: int) -> Node:
    """Depthwise output c reads input c // multiplier; the others sum over the last axis."""
    weights = np.asarray(node.params["weights"], np.float64)
    size = channels if isinstance(node.op, DepthwiseConv2D) else weights.shape[-1]
    factors = np.tile(factors, size // len(factors))
    if isinstance(node.op, DepthwiseConv2D):
        factors = np.repeat(factors, weights.shape[2] // channels)
    return replace(node, params=_params(node, weights * factors, node.params["bias"]))


def _params(node: Node, weights: Array, bias: Array) -> Params:
    """In float32, as loaded."""
    return {**node.params, "weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
