"""What each op is in Keras: layers that compute the same in float, and the order of their weights.

Two things are built from this table: the float side of training, and the ``.keras`` file that is
the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.finetune.tensorflow import keras
from mcu_export.graph import Node
from mcu_export.ops import (
    NO_PADDING,
    UNLIMITED,
    Add,
    Array,
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
    Padding,
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

Tensor = Any
Call = Callable[[Tensor], Tensor]
Builder = Callable[[Node, Sequence[Shape], str], Sequence[Call]]

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


def _limits(limits: Limits, node: Node) -> Sequence[Call]:
    if limits == UNLIMITED or isinstance(node.op, Clamp):
        return ()
    return _clamp(limits)


def _clamp(limits: Limits, name: str | None = None) -> Sequence[Call]:
    if limits.low == 0:
        most = None if np.isinf(limits.high) else limits.high
        return (keras().layers.ReLU(max_value=most, name=name),)
    return (lambda x: keras().ops.clip(x, limits.low, limits.high),)


def _padded(padding: Padding, name: str) -> Sequence[Call]:
    if padding == NO_PADDING:
        return ()
    sides = ((padding.top, padding.bottom), (padding.left, padding.right))
    return (keras().layers.ZeroPadding2D(sides, name=name),)


def _filled(node: Node, shapes: Sequence[Shape], layer: Any, shape: Sequence[int]) -> Call:
    """The layer with the constants of the node as its weights."""
    layer.build((None, *shape))
    layer.set_weights([to_keras(node, shapes, *one) for one in node.params.items()])
    built: Call = layer
    return built


def _with_border(shape: Shape, padding: Padding) -> tuple[int, int, int]:
    rows, columns = padding.top + padding.bottom, padding.left + padding.right
    return shape[0] + rows, shape[1] + columns, shape[2]


def _conv2d(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    op, weights = node.op, node.params["weights"]
    assert isinstance(op, Conv2D)
    layer = keras().layers.Conv2D(
        weights.shape[0],
        weights.shape[1:3],
        strides=op.strides,
        dilation_rate=op.dilation,
        name=name,
    )
    filled = _filled(node, shapes, layer, _with_border(shapes[0], op.padding))
    return (*_padded(op.padding, f"{name}_pad"), filled)


def _depthwise(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    op, weights = node.op, node.params["weights"]
    assert isinstance(op, DepthwiseConv2D)
    if op.strides[0] != op.strides[1]:
        raise no_form(node, "TensorFlow runs no depthwise conv with two different strides")
    layer = keras().layers.DepthwiseConv2D(
        weights.shape[:2],
        strides=op.strides,
        depth_multiplier=weights.shape[2] // shapes[0][2],
        dilation_rate=op.dilation,
        name=name,
    )
    filled = _filled(node, shapes, layer, _with_border(shapes[0], op.padding))
    return (*_padded(op.padding, f"{name}_pad"), filled)


def _dense(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    layer = keras().layers.Dense(node.params["weights"].shape[0], name=name)
    return (_filled(node, shapes, layer, shapes[0]),)


def _transpose_conv2d(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    op, weights = node.op, node.params["weights"]
    assert isinstance(op, TransposeConv2D)
    kernel = (weights.shape[1], weights.shape[2])
    kind = next((k for k in ("valid", "same") if _cut(shapes[0], kernel, op, k)), "")
    if not kind:
        raise no_form(node, "Keras cuts a transposed conv with padding 'same' or 'valid'")
    layer = keras().layers.Conv2DTranspose(
        weights.shape[0], kernel, strides=op.strides, padding=kind, name=name
    )
    return (_filled(node, shapes, layer, shapes[0]),)


def _pool(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    op = node.op
    assert isinstance(op, MaxPool2D | AveragePool2D)
    made = (
        keras().layers.MaxPooling2D
        if isinstance(op, MaxPool2D)
        else (keras().layers.AveragePooling2D)
    )
    if op.padding != NO_PADDING and op.padding != _same(shapes[0], op.kernel, op.strides):
        raise no_form(node, "Keras pools with padding 'same' or none")
    kind = "valid" if op.padding == NO_PADDING else "same"
    return (made(op.kernel, strides=op.strides, padding=kind, name=name),)


def _same(shape: Shape, kernel: tuple[int, int], strides: tuple[int, int]) -> Padding:
    """TensorFlow's padding SAME: as little as needed, the odd element behind."""
    total = [
        max((-(-size // step) - 1) * step + taps - size, 0)
        for size, taps, step in zip(shape[:2], kernel, strides, strict=True)
    ]
    (top, left) = (n // 2 for n in total)
    return Padding(top, total[0] - top, left, total[1] - left)


def _cut(shape: Shape, kernel: tuple[int, int], op: TransposeConv2D, kind: str) -> bool:
    """Whether Keras with padding ``kind`` gives the size of the op, cut at the same place."""
    sizes, firsts = [], []
    for size, taps, step in zip(shape[:2], kernel, op.strides, strict=True):
        same = kind == "same"
        sizes.append(size * step if same else (size - 1) * step + max(taps, step))
        firsts.append(max(taps - step, 0) // 2 if same else 0)
    return op.size == tuple(sizes) and (op.padding.top, op.padding.left) == tuple(firsts)


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
    return (_filled(node, shapes, layer, shapes[0]),)


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
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    Dense: _dense,
    TransposeConv2D: _transpose_conv2d,
    MaxPool2D: _pool,
    AveragePool2D: _pool,
    Add: _merge("Add"),
    Plus: _merge("Add"),
    Subtract: _merge("Subtract"),
    Multiply: _merge("Multiply"),
    Maximum: _merge("Maximum"),
    Minimum: _merge("Minimum"),
    Clamp: lambda node, _, name: _clamp(node.op.limits, name),  # type: ignore[attr-defined]
    Softmax: _softmax,
    Reshape: lambda node, _, name: (keras().layers.Reshape(node.shape, name=name),),
    Pad: lambda node, _, name: _padded(node.op.padding, name),  # type: ignore[attr-defined]
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
