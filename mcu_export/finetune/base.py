"""What the builders of Keras layers share: the order of weights, padding, and the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.finetune.tensorflow import keras
from mcu_export.graph import Node
from mcu_export.ops import (
    NO_PADDING,
    Array,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Op,
    Padding,
    PRelu,
    Shape,
    TransposeConv2D,
)

Tensor = Any
Call = Callable[[Tensor], Tensor]
Builder = Callable[[Node, Sequence[Shape], str], Sequence[Call]]


def no_form(node: Node, what: str) -> UnsupportedLayerError:
    """The error that a layer cannot be trained here."""
    return UnsupportedLayerError(
        what,
        where=f"layer {node.name!r} ({node.op.text()})",
        fix="train the network as it is, or export it without finetune",
    )


def to_keras(node: Node, shapes: Sequence[Shape], role: str, values: Array) -> Array:
    """A constant of the graph in the order and shape of the Keras weight."""
    if isinstance(node.op, PRelu):
        slopes = np.broadcast_to(values, shapes[0][-1:])
        return slopes.reshape((1,) * (len(shapes[0]) - 1) + (-1,))
    if role == "weights" and isinstance(node.op, DepthwiseConv2D):
        height, width, _ = values.shape
        return values.reshape(height, width, shapes[0][2], -1)
    order = ORDERS.get(type(node.op)) if role == "weights" else None
    return values.transpose(order) if order else values


def from_keras(node: Node, role: str, values: Array) -> Array:
    """The same constant in the order and shape of the graph."""
    if isinstance(node.op, PRelu):
        return values.ravel()
    if role == "weights" and isinstance(node.op, DepthwiseConv2D):
        return values.reshape(values.shape[0], values.shape[1], -1)
    order = ORDERS.get(type(node.op)) if role == "weights" else None
    return values.transpose(np.argsort(order)) if order else values


# From the graph's order of axes to that of the Keras kernel.
ORDERS: Mapping[type[Op], tuple[int, ...]] = {
    Conv2D: (1, 2, 3, 0),
    Dense: (1, 0),
    TransposeConv2D: (1, 2, 0, 3),
}


def padded(padding: Padding, name: str) -> Sequence[Call]:
    """A layer of zeros around the image, or none."""
    if padding == NO_PADDING:
        return ()
    sides = ((padding.top, padding.bottom), (padding.left, padding.right))
    return (keras().layers.ZeroPadding2D(sides, name=name),)


def filled(node: Node, shapes: Sequence[Shape], layer: Any, shape: Sequence[int]) -> Call:
    """The layer with the constants of the node as its weights."""
    layer.build((None, *shape))
    layer.set_weights([to_keras(node, shapes, *one) for one in node.params.items()])
    built: Call = layer
    return built
