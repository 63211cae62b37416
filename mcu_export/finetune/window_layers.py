"""Convolutions, dense layers and poolings as Keras layers."""

from __future__ import annotations

from collections.abc import Sequence

from mcu_export.finetune.base import Call, filled, no_form, padded
from mcu_export.finetune.tensorflow import keras
from mcu_export.graph import Node
from mcu_export.ops import (
    NO_PADDING,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    MaxPool2D,
    Padding,
    Shape,
    TransposeConv2D,
)


def _with_border(shape: Shape, padding: Padding) -> tuple[int, int, int]:
    rows, columns = padding.top + padding.bottom, padding.left + padding.right
    return shape[0] + rows, shape[1] + columns, shape[2]


def conv2d(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """Conv2D, behind a layer of zeros where the op pads."""
    op, weights = node.op, node.params["weights"]
    assert isinstance(op, Conv2D)
    layer = keras().layers.Conv2D(
        weights.shape[0],
        weights.shape[1:3],
        strides=op.strides,
        dilation_rate=op.dilation,
        name=name,
    )
    layer = filled(node, shapes, layer, _with_border(shapes[0], op.padding))
    return (*padded(op.padding, f"{name}_pad"), layer)


def depthwise(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """DepthwiseConv2D, behind a layer of zeros where the op pads."""
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
    layer = filled(node, shapes, layer, _with_border(shapes[0], op.padding))
    return (*padded(op.padding, f"{name}_pad"), layer)


def dense(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """Dense."""
    layer = keras().layers.Dense(node.params["weights"].shape[0], name=name)
    return (filled(node, shapes, layer, shapes[0]),)


def transpose_conv2d(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """Conv2DTranspose, where Keras cuts its border at the same place."""
    op, weights = node.op, node.params["weights"]
    assert isinstance(op, TransposeConv2D)
    kernel = (weights.shape[1], weights.shape[2])
    kind = next((k for k in ("valid", "same") if _cut(shapes[0], kernel, op, k)), "")
    if not kind:
        raise no_form(node, "Keras cuts a transposed conv with padding 'same' or 'valid'")
    layer = keras().layers.Conv2DTranspose(
        weights.shape[0], kernel, strides=op.strides, padding=kind, name=name
    )
    return (filled(node, shapes, layer, shapes[0]),)


def pool(node: Node, shapes: Sequence[Shape], name: str) -> Sequence[Call]:
    """Max or average pooling."""
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
