"""The layers with windows or weights: convolution, dense, pooling, padding, batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.importer import Handler, Importer
from mcu_export.loaders.tf.nodes import TfNode, bounded
from mcu_export.loaders.tf.values import (
    Known,
    Result,
    Spread,
    Value,
    as_known,
    as_value,
    require_channels_last,
    unsupported,
)
from mcu_export.ops import (
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Pad,
    Padding,
    Shape,
    Transpose,
    TransposeConv2D,
    elements,
)
from mcu_export.ops.windows import same_padding_2d

Pair = tuple[int, int]
# Inputs 1 to 4 of a fused batch norm.
STATISTICS = ("gamma", "beta", "mean", "variance")


def conv2d(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Conv2D and DepthwiseConv2dNative; of a spread image not before it is put together again."""
    weights = as_known(node, inputs[1])
    if isinstance(inputs[0], Spread):
        if node.text("padding", "VALID") != "VALID" or set(node.integers("strides")) != {1}:
            raise unsupported(node, "a dilated convolution with strides is not supported")
        return replace(inputs[0], layer=node, weights=weights)
    source, shape = importer.image(as_value(node, inputs[0]), node)
    window = _window(node, shape, (weights.array.shape[0], weights.array.shape[1]))
    return _convolution(importer, node, source, weights, window)


def space_to_batch(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """SpaceToBatchND of an image: how TensorFlow writes some dilated convolutions."""
    value = as_value(node, inputs[0])
    block, padding = (as_known(node, item).array for item in inputs[1:3])
    sequence = block.shape == (1,) and padding.shape == (1, 2)
    if sequence:
        full = importer.shape(value, node)
        value = importer.relayout(value, [full[0], 1, *full[1:]], node)
        block, padding = np.asarray([1, *block]), np.asarray([[0, 0], *padding])
    if block.shape != (2,) or padding.shape != (2, 2) or min(block.min(), padding.min() + 1) < 1:
        raise unsupported(node, "only height and width can be spread over the batch")
    rows, columns = ((int(before), int(after)) for before, after in padding)
    return Spread(value, (int(block[0]), int(block[1])), (rows, columns), sequence=sequence)


def batch_to_space(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """BatchToSpaceND after a convolution: that convolution, dilated; what is cropped is not padded.

    Source: the documentation of ``tf.nn.with_space_to_batch``.
    """
    spread = inputs[0]
    if not isinstance(spread, Spread) or spread.layer is None or spread.weights is None:
        raise unsupported(node, "does not follow a convolution of a spread image")
    block, crops = (as_known(node, item).array for item in inputs[1:3])
    if spread.sequence:
        block, crops = np.asarray([1, *block]), np.asarray([[0, 0], *crops])
    sides = np.asarray(spread.padding) - crops
    if tuple(block) != spread.block or sides.min() < 0:
        raise unsupported(node, f"crops {crops.tolist()} of the padding {spread.padding}")
    window = ((1, 1), Padding(*(int(side) for side in sides.reshape(-1))), spread.block)
    source, _ = importer.image(spread.value, node)
    made = _convolution(importer, spread.layer, source, spread.weights, window)
    if not spread.sequence:
        return made
    full = importer.shape(made, node)
    return importer.relayout(made, [full[0], *full[2:]], node)


def _convolution(
    importer: Importer,
    node: TfNode,
    source: str,
    constant: Known,
    window: tuple[Pair, Padding, Pair],
) -> Value:
    """Weights (h, w, in, out) become (out, h, w, in); depthwise ones (h, w, in * multiplier)."""
    weights = constant.array
    height, width, channels, filters = weights.shape
    if node.op == "Conv2D":
        bias = np.zeros(filters)
        ours = np.transpose(weights, (3, 0, 1, 2))
        made = importer.emit(node, Conv2D(*window), [source], weights=ours, bias=bias)
        importer.note(made.source, "weights", node, constant)
        return made
    if channels != importer.builder.shapes[source][2]:
        raise ModelFileError(f"the weights are for {channels} channels, the input has others")
    bias = np.zeros(channels * filters)
    ours = weights.reshape(height, width, channels * filters)
    made = importer.emit(node, DepthwiseConv2D(*window), [source], weights=ours, bias=bias)
    importer.note(made.source, "weights", node, constant)
    return made


def mat_mul(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """MatMul by constant weights (in, out), which become (out, in)."""
    value, constant = as_value(node, inputs[0]), as_known(node, inputs[1])
    weights = constant.array
    if node.flag("transpose_a", False) or node.flag("adj_x", False):
        raise unsupported(node, "multiplies by the transposed input")
    if not node.flag("transpose_b", False) and not node.flag("adj_y", False):
        weights = weights.T
    shape = importer.shape(value, node)
    if weights.ndim != 2 or len(shape) < 2:
        raise unsupported(node, f"multiplies {shape} by weights of the shape {weights.T.shape}")
    source = importer.sample(value, node)
    made = importer.emit(
        node,
        Dense(),
        [source],
        (*shape[:-1], weights.shape[0]),
        weights=weights,
        bias=np.zeros(weights.shape[0]),
    )
    importer.note(made.source, "weights", node, constant)
    return made


def transposed_conv2d(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Conv2DBackpropInput: what a convolution of the result's shape would give is enlarged.

    Weights (h, w, out, in) become (out, h, w, in).
    """
    sizes = [int(size) for size in as_known(node, inputs[0]).array.reshape(-1)]
    constant, value = as_known(node, inputs[1]), as_value(node, inputs[2])
    weights = constant.array
    if weights.ndim != 4 or len(sizes) not in (2, 4):
        raise ModelFileError(f"makes {sizes} by weights of the shape {weights.shape}")
    source, before = importer.image(value, node)
    height, width = sizes if len(sizes) == 2 else sizes[1:3]
    bounded([height, width, weights.shape[2]], node.where)
    made_shape = (height, width, weights.shape[2])
    kernel = (weights.shape[0], weights.shape[1])
    strides, padding, dilation = _window(node, made_shape, kernel)
    reach = [
        (size + sum(around) - (length - 1) - 1) // step + 1
        for size, around, length, step in zip(
            made_shape,
            ((padding.top, padding.bottom), (padding.left, padding.right)),
            kernel,
            strides,
            strict=False,
        )
    ]
    if dilation != (1, 1) or tuple(reach) != before[:2]:
        raise unsupported(node, f"makes {made_shape} of {before}, dilated by {dilation}")
    made = importer.emit(
        node,
        TransposeConv2D((height, width), strides, padding),
        [source],
        weights=np.transpose(weights, (2, 0, 1, 3)),
        bias=np.zeros(weights.shape[2]),
    )
    importer.note(made.source, "weights", node, constant)
    return made


def pool(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """MaxPool and AvgPool."""
    source, shape = importer.image(as_value(node, inputs[0]), node)
    kernel = _spatial(node, "ksize")
    strides, padding, _ = _window(node, shape, kernel)
    kind = MaxPool2D if node.op == "MaxPool" else AveragePool2D
    return importer.emit(node, kind(kernel, strides, padding), [source])


def reduce_image(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Mean and Max over any axes but the batch: a global pooling.

    Where they are not the height and width of an image, they become the height of one.
    """
    value = as_value(node, inputs[0])
    full = importer.shape(value, node)
    axes = sorted({range(len(full))[int(a)] for a in as_known(node, inputs[1]).array.reshape(-1)})
    if not axes or axes[0] == 0 or full[0] != 1:
        raise unsupported(
            node,
            f"reduces the axes {axes} of the shape {full}",
            "only a reduction that leaves the batch as it is, is supported",
        )
    kept = [axis for axis in range(1, len(full)) if axis not in axes]
    height, width = full[axes[0]], full[2] if len(full) == 4 and axes == [1, 2] else 1
    if len(full) not in (3, 4) or axes != list(range(1, len(full) - 1)):
        height = elements(tuple(full[axis] for axis in axes))
        value = _axes_first(importer, node, value, (*axes, *kept))
    rest = elements(tuple(full[axis] for axis in kept))
    source = importer.named(value, (height, width, rest), node)
    kind = MaxPool2D if node.op == "Max" else AveragePool2D
    kernel = (height, width)
    ones = node.flag("keep_dims", node.flag("keepdims", False))
    sizes = [1 if axis in axes else size for axis, size in enumerate(full)]
    shape = sizes if ones else [full[axis] for axis in (0, *kept)]
    return importer.emit(node, kind(kernel, kernel), [source], tuple(shape))


def _axes_first(importer: Importer, node: TfNode, value: Value, order: tuple[int, ...]) -> Value:
    """The value with its axes, counted with the batch, in another order."""
    if list(order) == sorted(order):
        return value
    source = importer.sample(value, node)
    op = Transpose(tuple(axis - 1 for axis in order))
    name = importer.builder.add(f"{node.name}/transposed", op, [source])
    return Value(name, (1, *importer.builder.shapes[name]))


def pad(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Pad and PadV2 with zeros, of height and width."""
    if len(inputs) > 2 and np.any(as_known(node, inputs[2]).array):
        raise unsupported(node, "pads with a value other than 0")
    value = as_value(node, inputs[0])
    widths = [(int(a), int(b)) for a, b in as_known(node, inputs[1]).array]
    full = importer.shape(value, node)
    if len(full) not in (3, 4) or len(widths) != len(full) or any(widths[0] + widths[-1]):
        raise unsupported(node, f"pads the shape {full} by {widths}, not only height and width")
    if min(min(pair) for pair in widths) < 0:
        raise ModelFileError(f"pads by {widths}")
    rows, columns = widths[1:-1] if len(full) == 4 else ((0, 0), widths[1])
    height, width = full[1:3] if len(full) == 4 else (1, full[1])
    source = importer.named(value, (height, width, full[-1]), node)
    padded = [size + before + after for size, (before, after) in zip(full, widths, strict=True)]
    return importer.emit(node, Pad(Padding(*rows, *columns)), [source], tuple(padded))


def fused_batch_norm(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """FusedBatchNorm, V2 and V3, with the statistics of the training as constants."""
    require_channels_last(node)
    parts = dict(zip(STATISTICS, (as_known(node, item) for item in inputs[1:5]), strict=True))
    if node.flag("is_training", True):
        raise unsupported(
            node,
            "normalizes by the statistics of the batch, not by those of the training",
            "freeze the graph that was built for inference (is_training=False)",
        )
    params = {role: known.array for role, known in parts.items()}
    epsilon = node.number("epsilon", 1e-4)
    made = importer.batch_norm(node, as_value(node, inputs[0]), epsilon, params)
    for role, known in parts.items():
        importer.note(made.source, role, node, known)
    return made


def _spatial(node: TfNode, key: str) -> Pair:
    """Height and width of a list attribute for the four axes N, H, W, C."""
    sizes = node.integers(key, (1, 1, 1, 1))
    if len(sizes) != 4 or sizes[0] != 1 or sizes[3] != 1:
        raise unsupported(node, f"{key} {sizes}: only height and width may differ from 1")
    return sizes[1], sizes[2]


def _window(node: TfNode, shape: Shape, kernel: Pair) -> tuple[Pair, Padding, Pair]:
    """Strides, explicit padding and dilation of a convolution or pooling."""
    require_channels_last(node)
    strides, dilation = _spatial(node, "strides"), _spatial(node, "dilations")
    if min(*strides, *dilation, *kernel) < 1:
        raise ModelFileError("kernel, strides and dilations must be positive")
    mode = node.text("padding", "VALID")
    if mode == "SAME":
        return strides, same_padding_2d(shape, kernel, strides, dilation), dilation
    if mode == "EXPLICIT":
        pads = node.integers("explicit_paddings")
        if len(pads) != 8 or any(pads[:2] + pads[6:]) or min(pads) < 0:
            raise ModelFileError(f"explicit_paddings {pads}")
        return strides, Padding(*pads[2:6]), dilation
    if mode != "VALID":
        raise ModelFileError(f"unknown padding {mode!r}")
    return strides, Padding(), dilation


LAYER_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative"), conv2d),
    "SpaceToBatchND": space_to_batch,
    "BatchToSpaceND": batch_to_space,
    "Conv2DBackpropInput": transposed_conv2d,
    **dict.fromkeys(("MatMul", "BatchMatMulV2"), mat_mul),
    **dict.fromkeys(("MaxPool", "AvgPool"), pool),
    **dict.fromkeys(("Mean", "Max"), reduce_image),
    **dict.fromkeys(("Pad", "PadV2"), pad),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), fused_batch_norm),
}
