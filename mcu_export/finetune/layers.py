"""What each op is in Keras: layers that compute the same in float, and the order of their weights.

Two things are built from this table: the float side of training, and the ``.keras`` file that is
the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mcu_export.finetune import window_layers
from mcu_export.finetune.base import Builder, Call, filled, no_form, padded
from mcu_export.finetune.tensorflow import keras
from mcu_export.graph import Node
from mcu_export.ops import (
    UNLIMITED,
    Add,
    AveragePool2D,
    Clamp,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elu,
    Exponential,
    Gather,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Limits,
    Logistic,
    Maximum,
    MaxPool2D,
    Minimum,
    Mish,
    Multiply,
    Op,
    Pad,
    Plus,
    PRelu,
    Reshape,
    Shape,
    Softmax,
    Softplus,
    Softsign,
    Subtract,
    Swish,
    Tanh,
    Transpose,
    TransposeConv2D,
)

SELU = (1.6732632, 1.0507009)


def build_layers(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """Keras layers and operations that do ``node``, one after the other.

    Args:
        node: the layer; its constants are put into the Keras layer.
        shapes: of its inputs.
        name: of the layer that holds the weights; Keras allows no ``/``.

    Raises:
        UnsupportedLayerError: Keras has no layer for it.
    """
    builder = BUILDERS.get(type(node.op))
    if builder is None:
        raise no_form(node, f"there is no Keras layer for {node.op.kind}")
    return [*builder(node, shapes, name), *_limits(getattr(node.op, "limits", UNLIMITED), node)]


def _limits(limits: Limits, node: Node) -> Sequence[Call]:
    if limits == UNLIMITED or isinstance(node.op, Clamp):
        return ()
    return _clamp(limits)


def _clamp(limits: Limits, name: str | None = None) -> Sequence[Call]:
    if limits.low == 0:
        most = None if np.isinf(limits.high) else limits.high
        return (keras().layers.ReLU(max_value=most, name=name),)
    return (lambda x: keras().ops.clip(x, limits.low, limits.high),)


def _pad(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    assert isinstance(node.op, Pad)
    if node.op.value:
        raise no_form(node, "Keras pads with zeros only")
    return padded(node.op.padding, name)


def _merge(layer: str) -> Builder:
    def build(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
        if len(shapes) == 1:
            raise no_form(node, "an operand that is constant has no Keras layer")
        return (getattr(keras().layers, layer)(name=name),)

    return build


def _activation(function: str) -> Builder:
    return lambda node, shapes, name: (keras().layers.Activation(function, name=name),)


def _elu(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    op = node.op
    assert isinstance(op, Elu)
    if np.allclose((op.alpha, op.scale), SELU, atol=1e-4):
        return (keras().layers.Activation("selu", name=name),)
    if op.scale != 1:
        raise no_form(node, "Keras has no ELU with such a scale")
    return (keras().layers.ELU(op.alpha, name=name),)


def _hard_sigmoid(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    if node.op != HardSigmoid():
        raise no_form(node, "Keras 3 has a hard sigmoid of slope 1/6 only")
    return (keras().layers.Activation("hard_sigmoid", name=name),)


def _gelu(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    assert isinstance(node.op, Gelu)
    approximate = node.op.approximate
    return (lambda x: keras().ops.gelu(x, approximate=approximate),)


def _prelu(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    axes = list(range(1, len(shapes[0])))
    layer = keras().layers.PReLU(shared_axes=axes or None, name=name)
    return (filled(node, shapes, layer, shapes[0]),)


def _softmax(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    if node.op != Softmax():
        raise no_form(node, "Keras has a softmax with beta 1 only")
    return (keras().layers.Softmax(name=name),)


def _gather(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """A slice with steps, or every row and column repeated."""
    assert isinstance(node.op, Gather)
    indices, size = node.op.indices, shapes[0]
    repeats = [len(chosen) // n for chosen, n in zip(indices, size, strict=True)]
    repeated = tuple(
        tuple(np.repeat(range(n), r).tolist()) for n, r in zip(size, repeats, strict=True)
    )
    if len(size) == 3 and indices == repeated and repeats[2] == 1:
        return (keras().layers.UpSampling2D(tuple(repeats[:2]), name=name),)
    slices = [slice(None)]
    for chosen in indices:
        step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
        if step < 1 or chosen != tuple(range(chosen[0], chosen[-1] + 1, step)):
            raise no_form(node, "it takes elements in an order that is no slice")
        slices.append(slice(chosen[0], chosen[-1] + 1, step))
    return (lambda x: x[tuple(slices)],)


BUILDERS: Mapping[type[Op], Builder] = {
    Conv2D: window_layers.conv2d,
    DepthwiseConv2D: window_layers.depthwise,
    Dense: window_layers.dense,
    TransposeConv2D: window_layers.transpose_conv2d,
    MaxPool2D: window_layers.pool,
    AveragePool2D: window_layers.pool,
    Add: _merge("Add"),
    Plus: _merge("Add"),
    Subtract: _merge("Subtract"),
    Multiply: _merge("Multiply"),
    Maximum: _merge("Maximum"),
    Minimum: _merge("Minimum"),
    Clamp: lambda node, _, name: _clamp(node.op.limits, name),  # type: ignore[attr-defined]
    Softmax: _softmax,
    Reshape: lambda node, _, name: (keras().layers.Reshape(node.shape, name=name),),
    Pad: _pad,
    Transpose: lambda node, _, name: (
        keras().layers.Permute([axis + 1 for axis in node.op.order], name=name),  # type: ignore[attr-defined]
    ),
    Concatenate: lambda node, _, name: (
        keras().layers.Concatenate(axis=node.op.axis + 1, name=name),  # type: ignore[attr-defined]
    ),
    Gather: _gather,
    PRelu: _prelu,
    Elu: _elu,
    Swish: _activation("silu"),
    HardSigmoid: _hard_sigmoid,
    Softplus: _activation("softplus"),
    Softsign: _activation("softsign"),
    Gelu: _gelu,
    Exponential: _activation("exponential"),
    Mish: _activation("mish"),
    Logistic: _activation("sigmoid"),
    Tanh: _activation("tanh"),
    LeakyRelu: lambda node, _, name: (
        keras().layers.LeakyReLU(negative_slope=node.op.alpha, name=name),  # type: ignore[attr-defined]
    ),
    HardSwish: _activation("hard_silu"),
}
