"""Conv, depthwise and dense layers as sums of products over taps: weights and inputs in parts.

The outputs of a part read the same inputs: all those of a conv or dense layer, each channel of a
depthwise one by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mcu_export.graph import Node
from mcu_export.ops import Array, Conv2D, Dense, DepthwiseConv2D, Op
from mcu_export.ops.base import Shape
from mcu_export.ops.windows import pad_image, windows

MAX_ROWS = 4096
SAMPLES_AT_ONCE = 16


def tap_count(node: Node) -> int:
    """Over how many products one output of a conv, depthwise or dense layer sums."""
    shape = node.params["weights"].shape
    return int(np.prod(shape[:2] if isinstance(node.op, DepthwiseConv2D) else shape[1:]))


def weight_parts(node: Node) -> Array:
    """The weights, float64, as (parts, outputs, taps): outputs of a part read the same inputs."""
    weights = np.asarray(node.params["weights"], np.float64)
    if isinstance(node.op, DepthwiseConv2D):
        return weights.reshape(-1, weights.shape[2]).T[:, None, :]
    return weights.reshape(1, len(weights), -1)


def whole_weights(node: Node, parts: Array) -> Array:
    """The weights in the order of the graph; undoes :func:`weight_parts`."""
    if isinstance(node.op, DepthwiseConv2D):
        parts = parts.reshape(-1, parts.shape[-1]).T
    return parts.reshape(np.shape(node.params["weights"]))


# Draws some of the places of this shape where a layer has outputs: an index of each axis.
Draw = Callable[[Shape], tuple[Array, ...]]


def input_rows(node: Node, batches: Sequence[Array]) -> Array:
    """What the outputs of each part of a layer see: (parts, rows, taps), integers in float32.

    About :data:`MAX_ROWS`, as many of each sample, at positions drawn by a fixed seed: those at
    equal distances would all lie in the same columns of some image.

    Args:
        node: a conv, depthwise or dense layer.
        batches: its input (samples, *shape), batch by batch.
    """
    generator, count = np.random.default_rng(0), sum(map(len, batches))
    some = [x[i : i + SAMPLES_AT_ONCE] for x in batches for i in range(0, len(x), SAMPLES_AT_ONCE)]
    found = []
    for x in some:
        wanted = -(-MAX_ROWS * len(x) // count)

        def draw(places: Shape, wanted: int = wanted) -> tuple[Array, ...]:
            drawn = np.sort(generator.permutation(math.prod(places))[:wanted])
            return np.unravel_index(drawn, places)

        found.append(_ROWS[type(node.op)](node, x, draw))
    return np.concatenate(found, axis=1)


def _dense_rows(node: Node, x: Array, draw: Draw) -> Array:
    return x[draw(x.shape[:-1])][None]


def _conv_rows(node: Node, x: Array, draw: Draw) -> Array:
    assert isinstance(node.op, Conv2D)
    rows = _windows(node.op, x, node.params["weights"].shape[1:3], draw)
    return rows.reshape(1, len(rows), -1)


def _depthwise_rows(node: Node, x: Array, draw: Draw) -> Array:
    assert isinstance(node.op, DepthwiseConv2D)
    weights = node.params["weights"]
    rows = _windows(node.op, x, weights.shape[:2], draw)
    taps_first = rows.reshape(len(rows), -1, x.shape[3]).transpose(2, 0, 1)
    return np.repeat(taps_first, weights.shape[2] // x.shape[3], axis=0)


def _windows(op: Conv2D | DepthwiseConv2D, x: Array, kernel: Shape, draw: Draw) -> Array:
    """What drawn outputs see of an image: (rows, kernel_h, kernel_w, C)."""
    seen = windows(pad_image(x, op.padding), (kernel[0], kernel[1]), op.strides, op.dilation)
    rows: Array = seen[draw(seen.shape[:3])]
    return rows


# Layers that are sums over taps.
_ROWS: dict[type[Op], Callable[[Node, Array, Draw], Array]] = {
    Conv2D: _conv_rows,
    DepthwiseConv2D: _depthwise_rows,
    Dense: _dense_rows,
}
TAPPED = tuple(_ROWS)
