"""Depthwise 2-D convolution: every channel has filters of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import (
    NO_PADDING,
    UNLIMITED,
    Array,
    Limits,
    Op,
    Padding,
    Params,
    Shape,
    elements,
    require,
)
from mcu_export.ops.windows import pad_image, taps, window_output

# Padded images that are done together.
BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class DepthwiseConv2D(Op):
    """Depthwise convolution of (H, W, C) with ``weights`` (kernel_h, kernel_w, C * multiplier).

    Output channel c reads input channel c // multiplier, as TensorFlow orders them.
    ``bias`` (C * multiplier) is always present.
    """

    kind = "depthwise_conv2d"

    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)
    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        weights = params["weights"]
        kernel = (weights.shape[0], weights.shape[1])
        height, width = window_output(shape, kernel, self.strides, self.padding, self.dilation)
        channels = int(weights.shape[2])
        require(
            channels % shape[2] == 0,
            f"{channels} output channels are no multiple of the {shape[2]} input channels",
        )
        return height, width, channels

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        weights = params["weights"]
        x = pad_image(inputs[0], self.padding)
        multiplier = weights.shape[2] // x.shape[3]
        if multiplier > 1:
            x = np.repeat(x, multiplier, axis=3)
        shape = self.infer([inputs[0].shape[1:]], params)
        y: Array = np.empty((len(x), *shape), x.dtype)
        if self.strides == (1, 1):
            _whole_images(self, x, weights, y)
        else:
            _rows(self, x, weights, y)
        y += params["bias"]
        return self.limits.apply(y)

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return output[0] * output[1] * elements(params["weights"].shape)


def _rows(op: DepthwiseConv2D, x: Array, weights: Array, y: Array) -> None:
    """Sums of products of the padded ``x``, into ``y``: rows of images at once."""
    y[...] = 0
    product = np.empty_like(y)
    views = taps(x, (weights.shape[0], weights.shape[1]), op.strides, op.dilation)
    rows: Array = np.repeat(weights.reshape(-1, 1, weights.shape[2]), y.shape[2], axis=1)
    for view, row in zip(views, rows, strict=True):
        np.multiply(view, row, out=product)
        y += product


def _whole_images(op: DepthwiseConv2D, x: Array, weights: Array, y: Array) -> None:
    """The same sums for stride 1, where all that a tap sees of an image lies in one piece.

    They are made at every column of the padded image, also where a window reaches into the next
    row, and left out there. Blocks of images stay in the cache: numpy goes over them for each tap.
    """
    count, height, width, channels = y.shape
    row = x.shape[2] * channels
    used = (height - 1) * row + width * channels
    size = max(BLOCK_BYTES // max(x[:1].nbytes, 1), 1)
    total, product = np.zeros((size, height * row), y.dtype), np.empty((size, used), y.dtype)
    starts = [
        (top * op.dilation[0] * row + left * op.dilation[1] * channels)
        for top in range(weights.shape[0])
        for left in range(weights.shape[1])
    ]
    factors = np.tile(weights.reshape(len(starts), channels), height * x.shape[2])[:, :used]
    flat = x.reshape(count, -1)
    for first in range(0, count, size):
        some = min(size, count - first)
        sums, products = total[:some, :used], product[:some]
        sums[...] = 0
        for start, factor in zip(starts, factors, strict=True):
            np.multiply(flat[first : first + some, start : start + used], factor, out=products)
            sums += products
        wide = total[:some].reshape(some, height, x.shape[2], channels)
        y[first : first + some] = wide[:, :, :width]
