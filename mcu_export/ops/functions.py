"""Functions of each element alone that are not limits: logistic, tanh and the like."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import Array, Op, Params, Shape


@dataclass(frozen=True)
class ElementFunction(Op):
    """Base of all functions of one value."""

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,) = shapes
        return shape

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        result: Array = self.of(inputs[0]).astype(inputs[0].dtype)
        return result

    @abstractmethod
    def of(self, x: Array) -> Array:
        """The function of each element."""


@dataclass(frozen=True)
class Logistic(ElementFunction):
    """Sigmoid: ``1 / (1 + exp(-x))``."""

    kind = "logistic"

    def of(self, x: Array) -> Array:
        positive: Array = 1 / (1 + np.exp(-np.abs(x)))
        return np.where(x >= 0, positive, 1 - positive)


@dataclass(frozen=True)
class Tanh(ElementFunction):
    """Hyperbolic tangent."""

    kind = "tanh"

    def of(self, x: Array) -> Array:
        result: Array = np.tanh(x)
        return result


@dataclass(frozen=True)
class LeakyRelu(ElementFunction):
    """``x`` where it is positive, else ``alpha * x``."""

    kind = "leaky_relu"

    alpha: float

    def of(self, x: Array) -> Array:
        return np.where(x > 0, x, x * self.alpha)


@dataclass(frozen=True)
class HardSwish(ElementFunction):
    """``x * min(max(x + 3, 0), 6) / 6``."""

    kind = "hard_swish"

    def of(self, x: Array) -> Array:
        result: Array = x * np.clip(x + 3, 0, 6) / 6
        return result


@dataclass(frozen=True)
class Convert(ElementFunction):
    """The same real values in another number format."""

    kind = "convert"

    def of(self, x: Array) -> Array:
        return x
