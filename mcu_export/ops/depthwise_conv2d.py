"""Depthwise 2-D convolution: every channel has filters of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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
from mcu_export.ops.windows import pad_image, window_output, windows


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
        y = _row_sums(self, x, weights) if self.strides[1] == 1 else _sums(self, x, weights)
        y += params["bias"]
        return self.limits.apply(y)

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return output[0] * output[1] * elements(params["weights"].shape)


def _sums(op: DepthwiseConv2D, x: Array, weights: Array) -> Array:
    """Sums of products of the padded ``x``, as many at once as there are channels."""
    seen = windows(x, (weights.shape[0], weights.shape[1]), op.strides, op.dilation)
    y: Array = np.einsum("nhwabc,abc->nhwc", seen, weights)
    return y


def _row_sums(op: DepthwiseConv2D, x: Array, weights: Array) -> Array:
    """The same where windows lie side by side: all that a tap sees of a row is in one piece."""
    kernel, channels = weights.shape[:2], weights.shape[2]
    width = x.shape[2] - (kernel[1] - 1) * op.dilation[1]
    reach = ((kernel[0] - 1) * op.dilation[0] + 1, width * channels)
    every = sliding_window_view(x.reshape(*x.shape[:2], -1), reach, axis=(1, 2))
    seen = every[:, :: op.strides[0], :: op.dilation[1] * channels, :: op.dilation[0]]
    y: Array = np.einsum("nhbaj,abj->nhj", seen, np.tile(weights, width))
    return y.reshape(*y.shape[:2], width, channels)
