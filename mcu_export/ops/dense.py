"""Fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcu_export.ops.base import UNLIMITED, Array, Limits, Op, Params, Shape, elements, require, sums


@dataclass(frozen=True)
class Dense(Op):
    """``weights`` (out, in) times the last axis of the input, plus ``bias`` (out).

    Leading axes are kept: a Dense on (T, in) is applied to each of the T rows, as Keras does.
    """

    kind = "dense"

    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        weights = params["weights"]
        require(
            len(shape) >= 1 and shape[-1] == weights.shape[1],
            f"input of shape {shape} does not fit weights for {weights.shape[1]} inputs",
        )
        return *shape[:-1], int(weights.shape[0])

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        y = sums(inputs[0], params["weights"])
        y += params["bias"]
        return self.limits.apply(y)

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return elements(output) * int(params["weights"].shape[1])
