"""What every op is: a frozen dataclass of attributes with shape inference and float arithmetic."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mcu_export.errors import UnsupportedLayerError

Shape = tuple[int, ...]
Array = npt.NDArray[Any]
Params = Mapping[str, Array]


@dataclass(frozen=True)
class Limits:
    """The range a fused activation leaves: ReLU is (0, inf), ReLU6 is (0, 6)."""

    low: float = -math.inf
    high: float = math.inf

    def apply(self, x: Array) -> Array:
        """``x`` limited to the range, in the dtype of ``x``."""
        if self == UNLIMITED:
            return x
        return np.clip(x, x.dtype.type(self.low), x.dtype.type(self.high))

    def text(self) -> str:
        """``none``, ``relu``, ``relu6`` or ``clip(low, high)``."""
        named = {UNLIMITED: "none", RELU: "relu", RELU6: "relu6"}
        return named.get(self, f"clip({self.low:g}, {self.high:g})")

    def within(self, other: Limits) -> Limits:
        """Both limits one after the other: first ``other``, then ``self``."""
        low = min(max(other.low, self.low), self.high)
        high = max(min(other.high, self.high), self.low)
        return Limits(low, high)


UNLIMITED = Limits()
RELU = Limits(low=0.0)
RELU6 = Limits(0.0, 6.0)


@dataclass(frozen=True)
class Padding:
    """Explicit padding of height and width, in elements."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def text(self) -> str:
        """``top,bottom,left,right``."""
        return f"{self.top},{self.bottom},{self.left},{self.right}"


NO_PADDING = Padding()


@dataclass(frozen=True)
class Op(ABC):
    """A layer type. Subclasses are frozen dataclasses whose fields are the attributes."""

    kind: ClassVar[str]

    @abstractmethod
    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        """Output shape without the batch; ``UnsupportedLayerError`` where it cannot be."""

    @abstractmethod
    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        """Float result for inputs of shape (samples, *shape), in their dtype."""

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        """Multiply-accumulates of one inference; 0 for ops without weights."""
        return 0

    def text(self) -> str:
        """Stable one-line text: the kind and every attribute that is not the default."""
        shown = [
            f"{f.name}={_value_text(getattr(self, f.name))}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        ]
        return self.kind + (f"<{' '.join(shown)}>" if shown else "")


def _value_text(value: object) -> str:
    if isinstance(value, Limits | Padding):
        return value.text()
    if isinstance(value, tuple):
        return "x".join(str(item) for item in value)
    return str(value)


def require(condition: bool, what: str, fix: str = "") -> None:
    """Raise ``UnsupportedLayerError(what)`` unless ``condition`` holds."""
    if not condition:
        raise UnsupportedLayerError(what, fix=fix)


def elements(shape: Shape) -> int:
    """Number of elements of a tensor of that shape."""
    return math.prod(shape)


def sums(x: Array, weights: Array) -> Array:
    """Sums of products of the last axis of ``x`` with each row of ``weights`` (out, in).

    One product of matrices: numpy would make many small ones of an ``x`` with more axes.
    """
    y: Array = x.reshape(-1, x.shape[-1]) @ weights.T
    return y.reshape(*x.shape[:-1], len(weights))
