"""Max and average pooling. A global pooling is a window of the size of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from mcu_export.ops.base import NO_PADDING, UNLIMITED, Array, Limits, Op, Padding, Params, Shape
from mcu_export.ops.windows import pad_image, pooling_output, taps


@dataclass(frozen=True)
class MaxPool2D(Op):
    """Largest value of each window; padding never wins."""

    kind = "max_pool2d"

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = NO_PADDING
    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        return pooling_output(shape, self.kernel, self.strides, self.padding)

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        x = pad_image(inputs[0], self.padding, -np.inf)
        return self.limits.apply(reduce(np.maximum, taps(x, self.kernel, self.strides, (1, 1))))


@dataclass(frozen=True)
class AveragePool2D(Op):
    """Mean of each window; as in TensorFlow, padding does not count."""

    kind = "average_pool2d"

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = NO_PADDING
    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        return pooling_output(shape, self.kernel, self.strides, self.padding)

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        x = pad_image(inputs[0], self.padding)
        if self.kernel == x.shape[1:3]:
            total: Array = x.sum(axis=(1, 2), keepdims=True)
        else:
            total = reduce(np.add, taps(x, self.kernel, self.strides, (1, 1)))
        counts = window_counts(inputs[0].shape[1:], self.kernel, self.strides, self.padding)
        return self.limits.apply(total / counts[:, :, None].astype(x.dtype))


@lru_cache
def window_counts(
    shape: Shape, kernel: tuple[int, int], strides: tuple[int, int], padding: Padding
) -> Array:
    """(out_h, out_w) number of elements of each window that lie inside the image (H, W, C)."""
    ones = pad_image(np.ones((1, shape[0], shape[1], 1), np.int64), padding)
    counts: Array = np.sum(taps(ones, kernel, strides, (1, 1)), axis=0)[0, :, :, 0]
    counts.flags.writeable = False
    return counts
