"""A batch norm before a layer: fold it forward, into the weights that read it.

For ``y = w * (x * s + o) + b`` the layer becomes ``w' = w * s`` over the input channels and
``b' = b + sum(w * o)``. Where a convolution pads, it pads with zeros after the batch norm; that is
the same only if ``o`` is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcu_export.graph import Fold, Graph, Node, rebuild
from mcu_export.ops import (
    NO_PADDING,
    UNLIMITED,
    Array,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Params,
    Reshape,
    elements,
)
from mcu_export.passes.fold_batch_norm import difference


def merge_batch_norms(graph: Graph) -> Graph:
    """Join batch norms in a row into one."""
    consumers = graph.consumers()
    by_name = {node.name: node for node in graph.nodes}
    dropped: dict[str, str] = {}
    for node in graph.nodes:
        before = by_name.get(node.inputs[0])
        if not isinstance(node.op, BatchNorm) or not _can_go(before, graph, consumers):
            continue
        assert before is not None
        first, second = _scale_and_offset(before), _scale_and_offset(node)
        by_name[node.name] = replace(
            node,
            op=replace(node.op, epsilon=0.0),
            inputs=before.inputs,
            params=_as_statistics(first[0] * second[0], first[1] * second[0] + second[1]),
        )
        dropped[before.name] = node.name
    if not dropped:
        return graph
    return rebuild(graph, [by_name[n.name] for n in graph.nodes if n.name not in dropped])


def fold_forward(graph: Graph) -> Graph:
    """Fold each batch norm into the one conv, depthwise or dense layer that reads it.

    A dense layer may read it through a reshape that flattens: then every position of the image
    has the scale and the offset of its channel.
    """
    consumers = graph.consumers()
    by_name = {node.name: node for node in graph.nodes}
    dropped: dict[str, str] = {}
    folds: list[Fold] = []
    for node in graph.nodes:
        if not isinstance(node.op, tuple(_FOLDERS)):
            continue
        between = _flattening(by_name.get(node.inputs[0]), node, graph, consumers)
        before = by_name.get(between[0].inputs[0] if between else node.inputs[0])
        if not _can_go(before, graph, consumers):
            continue
        assert before is not None and isinstance(before.op, BatchNorm)
        scale, offset = _scale_and_offset(before)
        if getattr(node.op, "padding", NO_PADDING) != NO_PADDING and offset.any():
            continue
        if between:
            positions = elements(before.shape) // scale.size
            scale, offset = np.tile(scale, positions), np.tile(offset, positions)
        folded = with_scaled_input(node, scale, offset)
        by_name[node.name] = folded
        dropped[before.name] = before.inputs[0]
        change = difference([before, *between, node], [*between, folded], before.shape)
        folds.append(Fold(before.name, node.name, before.op.epsilon, change))
    if not folds:
        return graph
    kept = [by_name[node.name] for node in graph.nodes if node.name not in dropped]
    return replace(rebuild(graph, kept, dropped), folds=graph.folds + tuple(folds))


def with_scaled_input(node: Node, scale: Array, offset: Array) -> Node:
    """A conv, depthwise or dense layer that does for ``x`` what it did for ``x * scale + offset``.

    Where it pads, ``offset`` must be 0. Both are per channel of the input, float64.
    """
    return replace(node, params=_FOLDERS[type(node.op)](node, scale, offset))


def _can_go(node: Node | None, graph: Graph, consumers: Mapping[str, list[Node]]) -> bool:
    """Whether ``node`` is a batch norm without activation that only one layer reads."""
    if node is None or not isinstance(node.op, BatchNorm) or node.op.limits != UNLIMITED:
        return False
    return len(consumers[node.name]) == 1 and node.name not in graph.outputs


def _flattening(
    node: Node | None, reader: Node, graph: Graph, consumers: Mapping[str, list[Node]]
) -> list[Node]:
    """The reshape that makes one row of an image for a dense layer, if ``node`` is one."""
    if node is None or not isinstance(node.op, Reshape) or not isinstance(reader.op, Dense):
        return []
    alone = len(consumers[node.name]) == 1 and node.name not in graph.outputs
    return [node] if alone and len(node.shape) == 1 else []


def _scale_and_offset(node: Node) -> tuple[Array, Array]:
    """Per channel, float64."""
    assert isinstance(node.op, BatchNorm)
    wide = {key: np.asarray(array, np.float64) for key, array in node.params.items()}
    return node.op.scale_and_offset(wide)


def _as_statistics(scale: Array, offset: Array) -> Params:
    """Parameters of a batch norm with epsilon 0 that is ``x * scale + offset``."""
    zeros, ones = np.zeros_like(scale), np.ones_like(scale)
    made = {"gamma": scale, "beta": offset, "mean": zeros, "variance": ones}
    return {key: array.astype(np.float32) for key, array in made.items()}


def _into_conv(node: Node, scale: Array, offset: Array) -> Params:
    weights = np.asarray(node.params["weights"], np.float64)
    assert isinstance(node.op, Conv2D)
    # With groups, output channels of group g read input channels of group g only.
    groups = scale.size // weights.shape[3]
    per_group = weights.shape[0] // groups
    scales = np.repeat(scale.reshape(groups, -1), per_group, axis=0)[:, None, None, :]
    offsets = np.repeat(offset.reshape(groups, -1), per_group, axis=0)[:, None, None, :]
    bias = node.params["bias"] + (weights * offsets).sum(axis=(1, 2, 3))
    return _narrow(weights * scales, bias)


def _into_depthwise(node: Node, scale: Array, offset: Array) -> Params:
    weights = np.asarray(node.params["weights"], np.float64)
    multiplier = weights.shape[2] // scale.size
    bias = node.params["bias"] + weights.sum(axis=(0, 1)) * np.repeat(offset, multiplier)
    return _narrow(weights * np.repeat(scale, multiplier), bias)


def _into_dense(node: Node, scale: Array, offset: Array) -> Params:
    weights = np.asarray(node.params["weights"], np.float64)
    return _narrow(weights * scale, node.params["bias"] + weights @ offset)


def _narrow(weights: Array, bias: Array) -> Params:
    return {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}


_FOLDERS = {Conv2D: _into_conv, DepthwiseConv2D: _into_depthwise, Dense: _into_dense}
