"""Cross-layer equalization for 8-bit weights beside 16-bit activations, exactly in float.

Such a network errs by its weights alone: they are to use their whole format, and activations have
bits to spare. So factors follow from the weights. First those of the channels: what a channel's
weights reach in the layer before and in the layers after becomes alike (Nagel et al. 2019,
"Data-Free Quantization", section 4.1). Then one gain for each layer: a format with power-of-two
scale leaves up to half of its range unused, and a gain below 2 fills it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.graph import Graph, Node
from mcu_export.ops import Array, DepthwiseConv2D, Shape
from mcu_export.passes.equalize import (
    LIMIT,
    SMALLEST,
    Group,
    groups,
    output_peaks,
    scaled,
    scaled_group,
)
from mcu_export.quantize import mse_weights, rounding_power
from mcu_export.schemes.formats import PowerOfTwo

# Every group depends on its neighbors; after so many rounds hardly anything changes any more.
ROUNDS = 6
# Gains that are tried: so many in an octave.
GAINS = 16


def equalize_weights(graph: Graph, bits: int, layers: Collection[str]) -> Graph:
    """The same float function with weights that power-of-two formats of ``bits`` bits suit well.

    Args:
        graph: the network after all other passes.
        bits: of the weights of ``layers``.
        layers: those that are looked at; all others can bear any factor.
    """
    position = {node.name: index for index, node in enumerate(graph.nodes)}
    found = sorted(groups(graph), key=lambda group: position[group.makers[0]])
    shapes, nodes = graph.shapes(), {node.name: node for node in graph.nodes}
    total = [np.ones(group.channels) for group in found]
    for round_ in range(ROUNDS + 1):
        for index, group in enumerate(found):
            sides = _sides(nodes, group, layers)
            if round_ < ROUNDS:
                wanted = total[index] * _factors(sides, group, shapes)
                factors = np.clip(wanted, 1 / LIMIT, LIMIT) / total[index]
            else:
                factors = np.full(group.channels, _gain(sides, bits))
            nodes.update(scaled_group(nodes, group, factors, shapes))
            total[index] = total[index] * factors
    # At once, so that weights are rounded to float32 once.
    return scaled(graph, list(zip(found, total, strict=True)))


@dataclass(frozen=True, eq=False)
class Sides:
    """The layers of a group whose weights are looked at."""

    makers: Sequence[Node]
    readers: Sequence[Node]


def _sides(nodes: Mapping[str, Node], group: Group, layers: Collection[str]) -> Sides:
    makers, readers = (
        [nodes[name] for name in names if name in layers] for names in (group.makers, group.readers)
    )
    return Sides(makers, readers)


def _factors(sides: Sides, group: Group, shapes: Mapping[str, Shape]) -> Array:
    """Factors after which all channels reach alike in makers and readers; geometric mean 1.

    Where one side alone is looked at, all its channels reach the same.
    """
    made = [output_peaks(node) for node in sides.makers]
    read = [_in_range(node, shapes[node.inputs[0]][-1]) for node in sides.readers]
    signed = [
        (sign, _largest(side, group.channels)) for sign, side in ((-1, made), (1, read)) if side
    ]
    factors, used = np.ones(group.channels), np.ones(group.channels, bool)
    for _, largest in signed:
        used &= largest > SMALLEST * float(largest.max())
    if signed and used.any():
        logs = np.zeros(int(used.sum()))
        for sign, largest in signed:
            logs += sign * np.log(largest[used]) / len(signed)
        factors[used] = np.exp(logs - logs.mean())
    return factors


def _largest(ranges: Sequence[Array], channels: int) -> Array:
    """The largest range of each channel of a group; index modulo ``channels``."""
    largest: Array = np.max([found.reshape(-1, channels).max(axis=0) for found in ranges], axis=0)
    return largest


def _in_range(node: Node, channels: int) -> Array:
    """Largest absolute weight that meets each input channel, float64.

    Depthwise output c reads input c // multiplier; the others sum over the last axis.
    """
    weights = np.abs(np.asarray(node.params["weights"], np.float64))
    largest: Array = weights.reshape(-1, weights.shape[-1]).max(axis=0)
    if isinstance(node.op, DepthwiseConv2D):
        largest = largest.reshape(channels, -1).max(axis=1)
    return largest


def _gain(sides: Sides, bits: int) -> float:
    """The gain from 1 to below 2 after which the makers, or else the readers, lose least."""
    gains = 2.0 ** (np.arange(GAINS) / GAINS)
    scales = gains if sides.makers else 1 / gains
    nodes = sides.makers or sides.readers
    weights = [np.asarray(node.params["weights"], np.float64) for node in nodes]
    lost = [sum(_lost(scale * one, bits) for one in weights) for scale in scales]
    return float(gains[int(np.argmin(lost))])


def _lost(weights: Array, bits: int) -> float:
    """Logarithm of the power that rounding loses, relative to that of the weights."""
    fmt = PowerOfTwo(bits, mse_weights(weights, bits))
    power = float(np.square(weights).sum())
    error = rounding_power(weights, fmt)
    return math.log(error / power) if error > 0 else -math.inf
