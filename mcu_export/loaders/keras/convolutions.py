"""Keras convolutions: plain, in groups, depthwise, separable, transposed."""

from __future__ import annotations

import math

import numpy as np

from mcu_export.loaders.keras.activations import activate
from mcu_export.loaders.keras.layer import Handler, Layer, Pair
from mcu_export.loaders.keras.moves import take
from mcu_export.loaders.keras.windows import as_image, is_1d, restore, spatial, window
from mcu_export.ops import (
    Array,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    Padding,
    Shape,
    TransposeConv2D,
)


def bias_of(layer: Layer, size: int) -> Array:
    """The bias, zeros where the layer has none."""
    if layer.flag("use_bias", True):
        return layer.weight("bias", (size,))
    return np.zeros(size, np.float32)


def convolution(layer: Layer, inputs: list[str]) -> str:
    """Conv1D and Conv2D: kernel (h, w, in / groups, out) becomes (out, h, w, in)."""
    layer.require_channels_last()
    image = as_image(layer, inputs[0])
    channels, filters = layer.shape(image)[2], layer.sizes("filters", 1)[0]
    groups = layer.sizes("groups", 1, 1)[0]
    if channels % groups or filters % groups:
        raise layer.damaged(f"{groups} groups of {channels} channels and {filters} filters")
    kernel = spatial(layer, "kernel_size")
    weights = layer.weight("kernel", (*kernel, channels // groups, filters))
    strides, padding, dilation = window(layer, layer.shape(image), kernel)
    bias = bias_of(layer, filters)
    if groups == channels > 1:
        # One input channel for each group: a depthwise convolution, with the same order.
        op = DepthwiseConv2D(strides, padding, dilation)
        made = layer.emit(op, image, weights=weights.reshape(*kernel, filters), bias=bias)
    else:
        made = _grouped(layer, image, Conv2D(strides, padding, dilation), weights, bias, groups)
    return restore(layer, inputs[0], activate(layer, made))


def _grouped(layer: Layer, image: str, op: Conv2D, weights: Array, bias: Array, groups: int) -> str:
    """A convolution for each group of channels, and their results side by side."""
    weights = np.transpose(weights, (3, 0, 1, 2))
    if groups == 1:
        return layer.emit(op, image, weights=weights, bias=bias)
    wide, parts = weights.shape[3], []
    shares = zip(np.split(weights, groups), np.split(bias, groups), strict=True)
    for number, (kernels, offsets) in enumerate(shares):
        channels = tuple(range(number * wide, (number + 1) * wide))
        source = take(layer, image, {2: channels}, part=f"group_{number}/channels")
        part = f"group_{number}"
        parts.append(layer.emit(op, source, part=part, weights=kernels, bias=offsets))
    return layer.emit(Concatenate(2), *parts)


def depthwise(layer: Layer, inputs: list[str]) -> str:
    """DepthwiseConv1D and DepthwiseConv2D of any depth multiplier."""
    layer.require_channels_last()
    image = as_image(layer, inputs[0])
    channels = layer.shape(image)[2] * layer.sizes("depth_multiplier", 1, 1)[0]
    made = _depthwise(layer, image, bias_of(layer, channels))
    return restore(layer, inputs[0], activate(layer, made))


def separable(layer: Layer, inputs: list[str]) -> str:
    """SeparableConv1D and SeparableConv2D: a depthwise and a 1x1 convolution."""
    layer.require_channels_last()
    image = as_image(layer, inputs[0])
    channels = layer.shape(image)[2] * layer.sizes("depth_multiplier", 1, 1)[0]
    filters = layer.sizes("filters", 1)[0]
    middle = _depthwise(layer, image, np.zeros(channels, np.float32), part="depthwise")
    weights = layer.weight("pointwise_kernel", (1, 1, channels, filters))
    made = layer.emit(
        Conv2D(),
        middle,
        weights=np.transpose(weights, (3, 0, 1, 2)),
        bias=bias_of(layer, filters),
    )
    return restore(layer, inputs[0], activate(layer, made))


def _depthwise(layer: Layer, image: str, bias: Array, part: str = "") -> str:
    """Depthwise kernel (h, w, in, multiplier) becomes (h, w, in * multiplier)."""
    shape = layer.shape(image)
    kernel = spatial(layer, "kernel_size")
    stored = (*kernel, shape[2], layer.sizes("depth_multiplier", 1, 1)[0])
    weights = layer.weight("depthwise_kernel", stored)
    strides, padding, dilation = window(layer, shape, kernel)
    return layer.emit(
        DepthwiseConv2D(strides, padding, dilation),
        image,
        part=part,
        weights=weights.reshape(*kernel, -1),
        bias=bias,
    )


def transposed(layer: Layer, inputs: list[str]) -> str:
    """Conv1DTranspose and Conv2DTranspose: kernel (h, w, out, in) becomes (out, h, w, in)."""
    layer.require_channels_last()
    if spatial(layer, "dilation_rate", 1) != (1, 1) or layer.setting("groups", 1) != 1:
        raise layer.unsupported(
            "a transposed convolution with a dilation or groups is not supported",
            "use dilation_rate=1 and groups=1",
        )
    image = as_image(layer, inputs[0])
    shape, filters = layer.shape(image), layer.sizes("filters", 1)[0]
    kernel, strides = spatial(layer, "kernel_size"), spatial(layer, "strides", 1)
    size, padding = _enlarged(layer, shape, kernel, strides)
    layer.require_plausible((*size, filters))
    weights = layer.weight("kernel", (*kernel, filters, shape[2]))
    made = layer.emit(
        TransposeConv2D(size, strides, padding),
        image,
        weights=np.transpose(weights, (2, 0, 1, 3)),
        bias=bias_of(layer, filters),
    )
    return restore(layer, inputs[0], activate(layer, made))


def _enlarged(layer: Layer, shape: Shape, kernel: Pair, strides: Pair) -> tuple[Pair, Padding]:
    """Height and width of the result, and what is cut off the whole overlap to get there.

    A transposed convolution undoes the sizes of a convolution: the cut is the padding that this
    convolution has. Sizes with and without ``output_padding`` are as Keras documents them.
    """
    mode = layer.text("padding", "valid").lower()
    if mode not in ("valid", "same"):
        raise layer.unsupported(f"padding={mode[:20]!r} is not supported", "use 'valid' or 'same'")
    extra = _output_padding(layer)
    sizes, cuts = [], []
    for length, window_size, step, more in zip(shape, kernel, strides, extra, strict=False):
        reach = (length - 1) * step + window_size
        if more is None:
            size = length * step + (max(window_size - step, 0) if mode == "valid" else 0)
        else:
            size = reach + more - (2 * (window_size // 2) if mode == "same" else 0)
        undone = math.ceil((size if mode == "same" else size - window_size + 1) / step)
        if undone != length or size < 1:
            raise layer.damaged(f"output_padding={more} does not go with strides of {step}")
        total = max(reach - size, 0)
        sizes.append(size)
        cuts.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = cuts
    return (sizes[0], sizes[1]), Padding(top, bottom, left, right)


def _output_padding(layer: Layer) -> tuple[int | None, int | None]:
    """``output_padding`` of height and width, where it is given."""
    given = layer.setting("output_padding")
    if given is None:
        return None, None
    values = layer.integers(given, "output_padding", 0)
    return (None, values[0]) if is_1d(layer) else (values[0], values[-1])


CONVOLUTIONS: dict[str, Handler] = {
    **dict.fromkeys(("Conv1D", "Conv2D"), convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose"), transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), separable),
}
