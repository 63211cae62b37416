"""Graphs with formats and integers drawn at random, extremes of each among them, for int8."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcu_export.graph import Graph, Node
from mcu_export.ops import Array, DepthwiseConv2D
from mcu_export.quantgraph import QuantGraph
from mcu_export.schemes.affine import assemble
from mcu_export.schemes.affine_formats import CHANNEL_AXIS, KEEPING, fixed_format
from mcu_export.schemes.formats import Affine, Format, PerChannel

ZERO_POINTS = (-128, -128, 127, 0, -1, 37, -90)
LARGE_BIAS = 2**29


class _Draw:
    """Draws formats and constants; ``left``: also factors that shift to the left."""

    def __init__(self, seed: int, left: bool) -> None:
        self.generator, self.left = np.random.default_rng(seed), left

    def activation(self, scale: float = 1.0) -> Affine:
        zero = int(self.generator.choice(ZERO_POINTS))
        factor = float(self.generator.uniform(0.7, 1.4))
        return Affine(8, float(np.float32(scale * factor)), zero)

    def weights(self, shape: tuple[int, ...], axis: int) -> Array:
        """Uniform, all extreme, or small; one channel may be all zero."""
        kind = self.generator.integers(4)
        low, high = ((-128, 128), (-127, 128), (-5, 6), (-128, 128))[kind]
        weights = self.generator.integers(low, high, shape)
        if kind == 3:
            weights = np.where(weights < 0, -128, 127)
        if shape[axis] > 2 and self.generator.integers(3) == 0:
            np.moveaxis(weights, axis, 0)[1] = 0
        return weights

    def constants(self, node: Node, x: Affine) -> tuple[dict[str, tuple[Array, Format]], float]:
        """Weights and bias with their formats, and the scale of a sum of typical size."""
        axis, shape = CHANNEL_AXIS[type(node.op)], node.params["weights"].shape
        weights, out = self.weights(shape, axis), shape[axis]
        others = tuple(i for i in range(len(shape)) if i != axis)
        sums = np.abs(weights).sum(axis=others) * 128 + 256
        bias = (sums * self.generator.uniform(-1, 1, out)).astype(np.int64)
        scales = np.full(out, 2.0**-7)
        if self.generator.integers(3):
            scales = scales * self.generator.uniform(0.25, 4, out)
            if (
                out > 3 and self.generator.integers(2) and not self.left
            ):  # a channel that nothing moves
                bias[2], scales[2] = LARGE_BIAS, scales[0] * 2.0**-21
        else:
            scales = scales[:1]
        typical = float(np.sqrt(shape[0] * weights.size / out) * 64 * scales[0] * x.scale)
        if self.left and not isinstance(node.op, DepthwiseConv2D):
            typical = float(scales[0] * x.scale / 4)
        scales_32 = tuple(float(np.float32(scale)) for scale in scales)
        bias_format = PerChannel(32, tuple(x.scale * scale for scale in scales_32), 0)
        made: dict[str, tuple[Array, Format]] = {
            "weights": (weights, PerChannel(8, scales_32, axis)),
            "bias": (bias, bias_format),
        }
        return made, typical


def random_affine(graph: Graph, seed: int, left: bool = False) -> QuantGraph:
    """The graph as an int8 network whose formats and constants are drawn.

    Args:
        graph: its weights count only by their shapes.
        seed: of all that is drawn.
        left: outputs are so fine that sums are shifted to the left.
    """
    draw = _Draw(seed, left)
    formats = {tensor.name: draw.activation() for tensor in graph.inputs}
    constants: dict[str, Mapping[str, tuple[Array, Format]]] = {}
    for node in graph.nodes:
        first = formats[node.inputs[0]]
        if "weights" in node.params:
            constants[node.name], typical = draw.constants(node, first)
            formats[node.name] = draw.activation(typical)
        elif isinstance(node.op, KEEPING):
            formats[node.name] = first
        else:
            formats[node.name] = fixed_format(node.op, 8) or draw.activation(2 * first.scale)
    return assemble(graph, "int8", formats, constants)
