"""Element-wise ops of one or two inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import UNLIMITED, Array, Limits, Op, Params, Shape, require


@dataclass(frozen=True)
class Add(Op):
    """Sum of two tensors of the same shape."""

    kind = "add"

    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        first, second = shapes
        require(first == second, f"adds shapes {first} and {second}; they must be equal")
        return first

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        return self.limits.apply(inputs[0] + inputs[1])


@dataclass(frozen=True)
class Clamp(Op):
    """An activation that limits its input, where it stands alone: ReLU, ReLU6, clip."""

    kind = "clamp"

    limits: Limits

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        return shape

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        return self.limits.apply(inputs[0])


@dataclass(frozen=True)
class BatchNorm(Op):
    """Batch normalization at inference, over the last axis.

    ``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, all parameters of shape (C,).
    """

    kind = "batch_norm"

    epsilon: float
    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        channels = params["mean"].shape[0]
        require(
            shape[-1] == channels,
            f"normalizes {channels} channels, its input has {shape[-1]}",
            "only a normalization over the last axis (channels last) is supported",
        )
        lowest = float(np.min(params["variance"])) + self.epsilon
        require(
            lowest > 0,
            f"the smallest variance plus epsilon {self.epsilon:g} is {lowest:g}; it has no root",
            "give an epsilon above 0 (--bn-epsilon), such as the 0.001 of Keras",
        )
        return shape

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        scale, offset = self.scale_and_offset(params)
        return self.limits.apply(inputs[0] * scale + offset)

    def scale_and_offset(self, params: Params) -> tuple[Array, Array]:
        """The same function as ``x * scale + offset``, computed in float64 per channel."""
        wide = {key: np.asarray(array, np.float64) for key, array in params.items()}
        scale = wide["gamma"] / np.sqrt(wide["variance"] + self.epsilon)
        offset = wide["beta"] - wide["mean"] * scale
        dtype = params["mean"].dtype
        return scale.astype(dtype), offset.astype(dtype)


@dataclass(frozen=True)
class Softmax(Op):
    """``exp(beta * x) / sum(exp(beta * x))`` over the last axis."""

    kind = "softmax"

    beta: float = 1.0

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        return shape

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        x = inputs[0] * inputs[0].dtype.type(self.beta)
        raised = np.exp(x - x.max(axis=-1, keepdims=True))
        shares: Array = raised / raised.sum(axis=-1, keepdims=True)
        return shares
