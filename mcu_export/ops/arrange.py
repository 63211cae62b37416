"""Ops that choose, repeat and join elements, and the mean over an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import Array, Op, Params, Shape, require


@dataclass(frozen=True)
class Concatenate(Op):
    """Tensors joined along ``axis``, counted without the batch."""

    kind = "concatenate"

    axis: int

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        first = shapes[0]
        require(0 <= self.axis < len(first), f"cannot join {first} along axis {self.axis}")
        for shape in shapes:
            same = len(shape) == len(first) and all(
                a == b for i, (a, b) in enumerate(zip(shape, first, strict=False)) if i != self.axis
            )
            require(same, f"cannot join shapes {first} and {shape} along axis {self.axis}")
        total = sum(shape[self.axis] for shape in shapes)
        return *first[: self.axis], total, *first[self.axis + 1 :]

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        joined: Array = np.concatenate(inputs, axis=self.axis + 1)
        return joined


@dataclass(frozen=True)
class Gather(Op):
    """Along each axis the elements with the given indices: slice, stride, split, resize.

    ``indices`` has one tuple for each axis, without the batch.
    """

    kind = "gather"

    indices: tuple[tuple[int, ...], ...]

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        require(len(self.indices) == len(shape), f"takes {len(self.indices)} axes of {shape}")
        for chosen, size in zip(self.indices, shape, strict=True):
            require(
                bool(chosen) and min(chosen) >= 0 and max(chosen) < size,
                f"takes elements that a tensor of shape {shape} does not have",
            )
        return tuple(len(chosen) for chosen in self.indices)

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        x = inputs[0]
        for axis, chosen in enumerate(self.indices):
            x = np.take(x, chosen, axis=axis + 1)
        return x

    def text(self) -> str:
        return f"{self.kind}<{'x'.join(str(len(chosen)) for chosen in self.indices)}>"


@dataclass(frozen=True)
class Transpose(Op):
    """Axes in another order; ``order`` counts without the batch."""

    kind = "transpose"

    order: tuple[int, ...]

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        fits = sorted(self.order) == list(range(len(shape)))
        require(fits, f"cannot bring the axes of {shape} into the order {self.order}")
        return tuple(shape[axis] for axis in self.order)

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        return np.transpose(inputs[0], (0, *(axis + 1 for axis in self.order)))


@dataclass(frozen=True)
class Mean(Op):
    """Mean over height and width of an image (H, W, C); gives (C)."""

    kind = "mean"

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        require(len(shape) == 3, f"takes the mean of an image (H, W, C), got shape {shape}")
        return (shape[2],)

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        mean: Array = inputs[0].mean(axis=(1, 2))
        return mean
