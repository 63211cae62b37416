"""Transposed 2-D convolution, as decoders use it to enlarge an image."""

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
    sums,
)


@dataclass(frozen=True)
class TransposeConv2D(Op):
    """Every input pixel adds its weighted window to the output; ``padding`` is cut off after.

    ``weights`` (C_out, kernel_h, kernel_w, C_in); the output has ``size`` (H, W).
    """

    kind = "transpose_conv2d"

    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        weights = params["weights"]
        require(
            len(shape) == 3 and shape[2] == weights.shape[3],
            f"input of shape {shape} does not fit weights for {weights.shape[3]} channels",
        )
        require(min(*self.size, *self.strides) >= 1, "size and strides must be positive")
        return *self.size, int(weights.shape[0])

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        x, weights = inputs[0], params["weights"]
        (height, width), (step_y, step_x) = self.size, self.strides
        reach_y = (x.shape[1] - 1) * step_y + weights.shape[1]
        reach_x = (x.shape[2] - 1) * step_x + weights.shape[2]
        full = np.zeros((len(x), reach_y + height, reach_x + width, weights.shape[0]), x.dtype)
        for row in range(weights.shape[1]):
            for column in range(weights.shape[2]):
                rows = slice(row, row + x.shape[1] * step_y, step_y)
                columns = slice(column, column + x.shape[2] * step_x, step_x)
                full[:, rows, columns] += sums(x, weights[:, row, column])
        top, left = self.padding.top, self.padding.left
        cut = full[:, top : top + height, left : left + width]
        return self.limits.apply(cut + params["bias"])

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return shapes[0][0] * shapes[0][1] * elements(params["weights"].shape)
