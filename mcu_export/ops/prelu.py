"""A ReLU with a trained slope below zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import Array, Op, Params, Shape, require


@dataclass(frozen=True)
class PRelu(Op):
    """``x`` where it is positive, else ``alpha * x``; ``alpha`` (C,) goes along the last axis."""

    kind = "prelu"

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        alpha = params["alpha"]
        require(
            alpha.ndim == 1 and alpha.shape[0] in (1, shape[-1]),
            f"has slopes of shape {alpha.shape} for an input of shape {shape}",
            "share the slopes over height and width (shared_axes=[1, 2])",
        )
        return shape

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        x = inputs[0]
        return np.where(x >= 0, x, x * params["alpha"])
