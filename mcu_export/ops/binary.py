"""Element-wise ops of two tensors, the second perhaps a constant, with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import UNLIMITED, Array, Limits, Op, Params, Shape, require


def operand_shapes(shapes: Sequence[Shape], params: Params) -> tuple[Shape, Shape]:
    """Shapes of both operands; a constant one is ``params["operand"]``, always the second."""
    if len(shapes) == 1:
        return shapes[0], tuple(np.shape(params["operand"]))
    return shapes[0], shapes[1]


def operand_arrays(inputs: Sequence[Array], params: Params) -> tuple[Array, Array]:
    """Both operands with as many axes, samples first, so that they broadcast."""
    first = inputs[0]
    second = inputs[1] if len(inputs) == 2 else params["operand"][None]
    rank = max(first.ndim, second.ndim)
    return _lifted(first, rank), _lifted(second, rank)


def _lifted(x: Array, rank: int) -> Array:
    """Axes of size 1 after the samples, so that the last axes of both operands line up."""
    return x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:])


@dataclass(frozen=True)
class _Binary(Op):
    """Shared by the ops below; operands broadcast as in numpy."""

    limits: Limits = UNLIMITED

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        first, second = operand_shapes(shapes, params)
        try:
            return np.broadcast_shapes(first, second)
        except ValueError:
            require(False, f"the shapes {first} and {second} do not go together")
            raise


@dataclass(frozen=True)
class Subtract(_Binary):
    """First tensor less the second; ``swapped``: second less first."""

    kind = "subtract"

    swapped: bool = False

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        first, second = operand_arrays(inputs, params)
        return self.limits.apply(second - first if self.swapped else first - second)


@dataclass(frozen=True)
class Multiply(_Binary):
    """Product of two tensors."""

    kind = "multiply"

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        first, second = operand_arrays(inputs, params)
        return self.limits.apply(first * second)


@dataclass(frozen=True)
class Plus(_Binary):
    """Sum of two tensors of different shapes, or of a tensor and a constant."""

    kind = "plus"

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        first, second = operand_arrays(inputs, params)
        return self.limits.apply(first + second)


@dataclass(frozen=True)
class Maximum(_Binary):
    """The larger of two tensors, element by element."""

    kind = "maximum"

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        larger: Array = np.maximum(*operand_arrays(inputs, params))
        return self.limits.apply(larger)


@dataclass(frozen=True)
class Minimum(_Binary):
    """The smaller of two tensors, element by element."""

    kind = "minimum"

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        smaller: Array = np.minimum(*operand_arrays(inputs, params))
        return self.limits.apply(smaller)
