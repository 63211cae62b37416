"""2-D convolution. Conv1D, separable and 1x1 convolutions are loaded as this op too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from mcu_export.ops.windows import pad_image, patches, window_output


@dataclass(frozen=True)
class Conv2D(Op):
    """Convolution of (H, W, C_in) with ``weights`` (C_out, kernel_h, kernel_w, C_in / groups).

    ``bias`` (C_out) is always present; a layer without one has zeros.
    """

    kind = "conv2d"

    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)
    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        weights = params["weights"]
        kernel = (weights.shape[1], weights.shape[2])
        height, width = window_output(shape, kernel, self.strides, self.padding, self.dilation)
        require(
            shape[2] == weights.shape[3],
            f"input has {shape[2]} channels, the weights expect {weights.shape[3]}",
            "grouped convolutions are not supported" if shape[2] % weights.shape[3] == 0 else "",
        )
        return height, width, int(weights.shape[0])

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        weights = params["weights"]
        x = pad_image(inputs[0], self.padding)
        kernel = (weights.shape[1], weights.shape[2])
        columns = patches(x, kernel, self.strides, self.dilation)
        y = sums(columns, weights.reshape(len(weights), -1))
        y += params["bias"]
        return self.limits.apply(y)

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return output[0] * output[1] * elements(params["weights"].shape)
