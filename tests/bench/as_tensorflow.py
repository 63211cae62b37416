"""A float network as a function of TensorFlow, for TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mcu_export.graph import Graph, Node
from mcu_export.ops import (
    NO_PADDING,
    RELU,
    RELU6,
    UNLIMITED,
    Add,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Op,
    Padding,
    Reshape,
    Shape,
    Softmax,
)
from mcu_export.ops.windows import same_padding_2d

Tensor = Any
ACTIVATIONS = {UNLIMITED: tf.identity, RELU: tf.nn.relu, RELU6: tf.nn.relu6}


def as_function(graph: Graph) -> Callable[[Tensor], Tensor]:
    """The network, of one input and one output, with a batch in front."""
    (entry,), (output,) = graph.inputs, graph.outputs
    shapes = graph.shapes()

    def function(x: Tensor) -> Tensor:
        values = {entry.name: x}
        for node in graph.nodes:
            given = [values[name] for name in node.inputs]
            made = MAKERS[type(node.op)](node, [shapes[name] for name in node.inputs], *given)
            limits = getattr(node.op, "limits", UNLIMITED)
            values[node.name] = made if limits == UNLIMITED else ACTIVATIONS[limits](made)
        return values[output]

    return function


def _padding(
    shape: Shape, kernel: tuple[int, int], op: Any, dilation: tuple[int, int] = (1, 1)
) -> str:
    """The name that TensorFlow has for the padding."""
    named: dict[Padding, str] = {same_padding_2d(shape, kernel, op.strides, dilation): "SAME"}
    named[NO_PADDING] = "VALID"
    return named[op.padding]


def _conv2d(node: Node, shapes: list[Shape], x: Tensor) -> Tensor:
    weights, op = np.asarray(node.params["weights"], np.float32), node.op
    assert isinstance(op, Conv2D)
    padding = _padding(shapes[0], weights.shape[1:3], op, op.dilation)
    y = tf.nn.conv2d(x, weights.transpose(1, 2, 3, 0), op.strides, padding, dilations=op.dilation)
    return y + np.asarray(node.params["bias"], np.float32)


def _depthwise(node: Node, shapes: list[Shape], x: Tensor) -> Tensor:
    weights, op = np.asarray(node.params["weights"], np.float32), node.op
    assert isinstance(op, DepthwiseConv2D)
    padding = _padding(shapes[0], weights.shape[:2], op, op.dilation)
    filters = weights.reshape(*weights.shape[:2], shapes[0][2], -1)
    y = tf.nn.depthwise_conv2d(x, filters, [1, *op.strides, 1], padding, dilations=op.dilation)
    return y + np.asarray(node.params["bias"], np.float32)


def _dense(node: Node, shapes: list[Shape], x: Tensor) -> Tensor:
    weights = np.asarray(node.params["weights"], np.float32)
    return tf.matmul(x, weights.T) + np.asarray(node.params["bias"], np.float32)


def _pool(node: Node, shapes: list[Shape], x: Tensor) -> Tensor:
    op = node.op
    assert isinstance(op, AveragePool2D | MaxPool2D)
    pool = tf.nn.avg_pool2d if isinstance(op, AveragePool2D) else tf.nn.max_pool2d
    return pool(x, op.kernel, op.strides, _padding(shapes[0], op.kernel, op))


def _reshape(node: Node, shapes: list[Shape], x: Tensor) -> Tensor:
    return tf.reshape(x, (-1, *node.shape))


MAKERS: dict[type[Op], Callable[..., Tensor]] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    Dense: _dense,
    AveragePool2D: _pool,
    MaxPool2D: _pool,
    Reshape: _reshape,
    Add: lambda node, shapes, first, second: first + second,
    Clamp: lambda node, shapes, x: x,
    Softmax: lambda node, shapes, x: tf.nn.softmax(x),
}
