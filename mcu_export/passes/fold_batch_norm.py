"""Batch normalization at inference is a scale and an offset per channel: fold it away.

For ``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`` after a layer
``x = w * input + b`` the layer becomes ``w' = w * s``, ``b' = b * s + (beta - mean * s)`` with
``s = gamma / sqrt(variance + epsilon)`` for each output channel (Jacob et al. 2018, section 3.2).
Gamma and epsilon are the file's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcu_export.graph import Fold, Graph, Node, rebuild
from mcu_export.ops import (
    UNLIMITED,
    Array,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Params,
    Reshape,
    Shape,
    TransposeConv2D,
)

# Axis of the output channels in the weights of each layer that can take a batch norm in.
CHANNEL_AXIS = {Conv2D: 0, DepthwiseConv2D: 2, Dense: 0, TransposeConv2D: 0}


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold each batch norm into the conv, depthwise or dense layer right before it.

    Not folded is a batch norm whose input somebody else reads too, or which follows an
    activation; :func:`batch_norm_to_depthwise` keeps those as layers of their own.
    """
    consumers = graph.consumers()
    shapes = graph.shapes()
    by_name = {node.name: node for node in graph.nodes}
    dropped: dict[str, str] = {}
    folds: list[Fold] = []
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            continue
        source = dropped.get(node.inputs[0], node.inputs[0])
        layer = by_name.get(source)
        if layer is None or len(consumers[node.inputs[0]]) != 1 or node.inputs[0] in graph.outputs:
            continue
        axis = CHANNEL_AXIS.get(type(layer.op))
        if axis is None or layer.op.limits != UNLIMITED:  # type: ignore[attr-defined]
            continue
        folded = replace(
            layer,
            op=replace(layer.op, limits=node.op.limits),  # type: ignore[call-arg]
            params=_folded_params(layer.params, node.op, node.params, axis),
        )
        change = difference([layer, node], [folded], shapes[layer.inputs[0]])
        folds.append(Fold(node.name, layer.name, node.op.epsilon, change))
        by_name[source] = folded
        dropped[node.name] = source
    if not folds:
        return graph
    kept = [by_name[node.name] for node in graph.nodes if node.name not in dropped]
    return replace(rebuild(graph, kept, dropped), folds=graph.folds + tuple(folds))


def _folded_params(params: Params, op: BatchNorm, statistics: Params, axis: int) -> Params:
    """Weights and bias with the batch norm in them; computed in float64."""
    wide = {key: np.asarray(array, np.float64) for key, array in statistics.items()}
    scale, offset = op.scale_and_offset(wide)
    weights = np.asarray(params["weights"], np.float64)
    shape = [1] * weights.ndim
    shape[axis] = -1
    bias = np.asarray(params["bias"], np.float64) * scale + offset
    return {
        "weights": (weights * scale.reshape(shape)).astype(np.float32),
        "bias": bias.astype(np.float32),
    }


def difference(before: Sequence[Node], after: Sequence[Node], shape: Shape) -> float:
    """Largest output difference on random input, relative to the largest output.

    Args:
        before: layers in a row.
        after: those that took their place.
        shape: shape of the input, without the batch.
    """
    random = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    expected, got = _run_row(before, random), _run_row(after, random)
    largest = float(np.max(np.abs(expected)))
    return float(np.max(np.abs(expected - got))) / largest if largest else 0.0


def _run_row(nodes: Sequence[Node], x: Array) -> Array:
    for node in nodes:
        x = node.op.compute([x], node.params)
    return x


def batch_norm_to_depthwise(graph: Graph) -> Graph:
    """Turn what could not be folded into a depthwise 1x1 convolution: one weight per channel.

    Every scheme and backend runs it, so that no batch norm is ever dropped.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend(_as_depthwise(node) if isinstance(node.op, BatchNorm) else [node])
    unchanged = not any(isinstance(node.op, BatchNorm) for node in graph.nodes)
    return graph if unchanged else rebuild(graph, nodes)


def _as_depthwise(node: Node) -> list[Node]:
    """The layer as depthwise convolution, between reshapes where it is not on an image."""
    assert isinstance(node.op, BatchNorm)
    scale, offset = node.op.scale_and_offset(node.params)
    channels = node.shape[-1]
    op = DepthwiseConv2D(limits=node.op.limits)
    params = {"weights": scale.reshape(1, 1, channels), "bias": offset}
    if len(node.shape) == 3:
        return [replace(node, op=op, params=params)]
    image = (1, int(np.prod(node.shape[:-1])), channels)
    before = Node(f"{node.name}/image", Reshape(image), node.inputs, image)
    affine = Node(f"{node.name}/affine", op, (before.name,), image, params)
    after = Node(node.name, Reshape(node.shape), (affine.name,), node.shape)
    return [before, affine, after]
