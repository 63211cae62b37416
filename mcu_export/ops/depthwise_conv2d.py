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
        views = taps(x, (weights.shape[0], weights.shape[1]), self.strides, self.dilation)
        y: Array = np.zeros(views[0].shape, x.dtype)
        product = np.empty_like(y)
        # One row of weights per tap: numpy then multiplies whole rows of an image at once.
        rows: Array = np.repeat(weights.reshape(-1, 1, weights.shape[2]), y.shape[2], axis=1)
        for view, row in zip(views, rows, strict=True):
            np.multiply(view, row, out=product)
            y += product
        y += params["bias"]
        return self.limits.apply(y)

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return output[0] * output[1] * elements(params["weights"].shape)
