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
from mcu_export.ops.windows import window_output, windows

# Padded images that are done together: they stay in the cache.
BLOCK_ELEMENTS = 2**17


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
        (x,), weights, p = inputs, params["weights"], self.padding
        shape = self.infer([x.shape[1:]], params)
        count, height, width, channels = x.shape
        padded = (height + p.top + p.bottom, width + p.left + p.right, shape[2])
        multiplier = shape[2] // channels
        size = max(min(BLOCK_ELEMENTS // elements(padded), count), 1)
        block = np.zeros((size, *padded), x.dtype)
        inside = block[:, p.top : p.top + height, p.left : p.left + width]
        seen, factors = (_rows if self.strides[1] == 1 else _windows)(self, block, weights)
        y: Array = np.empty((count, shape[0], seen.shape[2], factors.shape[2]), x.dtype)
        for start in range(0, count, size):
            some = x[start : start + size]
            for copy in range(multiplier):
                inside[: len(some), :, :, copy::multiplier] = some
            sums = y[start : start + size]
            np.einsum("nhwabc,abc->nhwc", seen[: len(some)], factors, out=sums)
        y = y.reshape(count, *shape)
        y += params["bias"]
        return self.limits.apply(y)

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return output[0] * output[1] * elements(params["weights"].shape)


def _windows(op: DepthwiseConv2D, x: Array, weights: Array) -> tuple[Array, Array]:
    """What outputs see of ``x`` (N, out_h, out_w, kernel_h, kernel_w, C), and the weights."""
    return windows(x, (weights.shape[0], weights.shape[1]), op.strides, op.dilation), weights


def _rows(op: DepthwiseConv2D, x: Array, weights: Array) -> tuple[Array, Array]:
    """The same for whole rows of outputs (N, out_h, 1, kernel_h, kernel_w, out_w * C).

    Where windows lie side by side, all that a tap sees of a row is in one piece: numpy then has few
    and long sums to make.
    """
    kernel, channels = weights.shape[:2], weights.shape[2]
    width = x.shape[2] - (kernel[1] - 1) * op.dilation[1]
    reach = ((kernel[0] - 1) * op.dilation[0] + 1, width * channels)
    every = sliding_window_view(x.reshape(*x.shape[:2], -1), reach, axis=(1, 2))
    seen = every[:, :: op.strides[0], None, :: op.dilation[1] * channels, :: op.dilation[0]]
    return seen.swapaxes(3, 4), np.tile(weights, width)
