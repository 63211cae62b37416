"""Bias absorption: what a channel always holds moves on into the bias of the layers that read it.

A layer that reads ``y = z + c`` computes ``w * y + b = w * z + (b + w * c)``, so a value can be
stored without a constant ``c`` per channel; its range becomes smaller. That holds for every input

* where the layer has no activation, for any ``c``: the middle of what samples gave is taken;
* behind a ReLU for a ``c`` that the sum before it can be proven never to lie below.

Nothing is moved where zeros are padded between, as zero would have to become ``-c``. Source: Nagel
et al. 2019, "Data-Free Quantization", section 4.1.3; there ``c`` is three standard deviations below
the mean, which changes the function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.graph import Graph, Node, rebuild, run_float
from mcu_export.ops import (
    NO_PADDING,
    UNLIMITED,
    Array,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Reshape,
)
from mcu_export.passes.equalize import groups
from mcu_export.passes.fold_forward import with_scaled_input

# These let a constant per channel through; windows of pooling do not count what is padded.
PASSES_CONSTANTS = (AveragePool2D, MaxPool2D, Reshape)
SUM_AXES = {Conv2D: (1, 2, 3), DepthwiseConv2D: (0, 1), Dense: (1,)}


def absorb_bias(graph: Graph, samples: Mapping[str, Array]) -> Graph:
    """The same float function with values nearer to zero; the graph itself if nothing can move.

    Args:
        graph: the network after all other passes.
        samples: real inputs, (samples, *shape) each; they set what is best, not what is exact.
    """
    found, shapes = list(_groups(graph)), graph.shapes()
    constants = {group.maker: _proven(graph, group.maker) for group in found}
    constants |= _middles(graph, samples, [g.maker for g in found if _is_linear(graph, g.maker)])
    nodes = {node.name: node for node in graph.nodes}
    changed = False
    for group in found:
        constant = constants[group.maker]
        if not constant.any():
            continue
        maker = nodes[group.maker]
        bias = np.asarray(maker.params["bias"], np.float64) - constant
        params = {**maker.params, "bias": bias.astype(np.float32)}
        nodes[group.maker] = replace(maker, params=params)
        for name in group.readers:
            channels = shapes[nodes[name].inputs[0]][-1]
            offset = np.tile(constant, channels // constant.size)
            nodes[name] = with_scaled_input(nodes[name], np.ones(channels), offset)
        changed = True
    return rebuild(graph, [nodes[node.name] for node in graph.nodes]) if changed else graph


@dataclass(frozen=True)
class Group:
    """A layer whose output may lose a constant per channel, and the layers that make up for it."""

    maker: str
    readers: tuple[str, ...]


def _groups(graph: Graph) -> Iterator[Group]:
    nodes = {node.name: node for node in graph.nodes}
    for group in groups(graph):
        if len(group.makers) != 1 or nodes[group.makers[0]].shape[-1] != group.channels:
            continue
        between = [nodes[name] for name in group.values if name != group.makers[0]]
        passing = all(
            isinstance(node.op, PASSES_CONSTANTS) and _limits(node) == UNLIMITED for node in between
        )
        padded = any(_pads(nodes[name]) for name in group.readers)
        if passing and not padded:
            yield Group(group.makers[0], group.readers)


def _is_linear(graph: Graph, name: str) -> bool:
    return _limits(graph.node(name)) == UNLIMITED


def _limits(node: Node) -> Limits:
    return getattr(node.op, "limits", UNLIMITED)


def _pads(node: Node) -> bool:
    return bool(getattr(node.op, "padding", NO_PADDING) != NO_PADDING)


def _middles(graph: Graph, samples: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
    """Middle of the range of each channel of each value, float64."""
    ends: dict[str, tuple[Array, Array]] = {}
    for batch in batches(graph, samples) if names else ():
        real = run_float(graph, batch)
        for name in names:
            rows = np.asarray(real[name], np.float64).reshape(-1, real[name].shape[-1])
            least, most = rows.min(axis=0), rows.max(axis=0)
            before = ends.get(name, (least, most))
            ends[name] = np.minimum(before[0], least), np.maximum(before[1], most)
    return {name: (least + most) / 2 for name, (least, most) in ends.items()}


def _proven(graph: Graph, name: str) -> Array:
    """What each channel before its ReLU never lies below, for any input at all; at least 0."""
    node = graph.node(name)
    low, high = _proven_range(graph, node.inputs[0])
    if _pads(node):
        low, high = min(low, 0.0), max(high, 0.0)
    weights = np.asarray(node.params["weights"], np.float64)
    axes = SUM_AXES[type(node.op)]
    least = np.asarray(node.params["bias"], np.float64)
    for part, end in ((np.maximum(weights, 0), low), (np.minimum(weights, 0), high)):
        # No weight, no product: 0 times infinity does not come up.
        total = part.sum(axis=axes)
        least = least + np.where(total == 0, 0.0, np.where(total == 0, 1.0, total) * end)
    return np.maximum(least, 0.0)


def _proven_range(graph: Graph, name: str) -> tuple[float, float]:
    """Limits of a value that hold for any input of the network: those of activations."""
    if name not in {node.name for node in graph.nodes}:
        return -math.inf, math.inf
    node = graph.node(name)
    limits = _limits(node)
    if isinstance(node.op, PASSES_CONSTANTS):
        low, high = _proven_range(graph, node.inputs[0])
        return max(low, limits.low), min(high, limits.high)
    return limits.low, limits.high
