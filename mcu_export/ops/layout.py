"""Ops that move values and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcu_export.ops.base import Array, Op, Padding, Params, Shape, elements, require
from mcu_export.ops.windows import pad_image


@dataclass(frozen=True)
class Reshape(Op):
    """Same elements in the same order under another shape; costs nothing in C."""

    kind = "reshape"

    shape: Shape

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        require(
            elements(shape) == elements(self.shape),
            f"cannot reshape {shape} ({elements(shape)} elements) to {self.shape}",
        )
        return self.shape

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        return inputs[0].reshape(inputs[0].shape[0], *self.shape)


@dataclass(frozen=True)
class Pad(Op):
    """Zeros, or another value, around an image (H, W, C)."""

    kind = "pad"

    padding: Padding
    value: float = 0.0

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        require(len(shape) == 3, f"pads an image (H, W, C), got shape {shape}")
        p = self.padding
        return shape[0] + p.top + p.bottom, shape[1] + p.left + p.right, shape[2]

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        return pad_image(inputs[0], self.padding, self.value)
