"""More functions of each element alone, as networks use them for activations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import Array
from mcu_export.ops.functions import ElementFunction

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class Elu(ElementFunction):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``, all of it times ``scale``.

    SELU has a scale of 1.0507 and an alpha of 1.6733 (Klambauer et al. 2017).
    """

    kind = "elu"

    alpha: float = 1.0
    scale: float = 1.0

    def of(self, x: Array) -> Array:
        return self.scale * np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))


@dataclass(frozen=True)
class Swish(ElementFunction):
    """``x * sigmoid(x)``, also called SiLU."""

    kind = "swish"

    def of(self, x: Array) -> Array:
        raised = np.exp(-np.abs(x))
        share: Array = np.where(x >= 0, 1, raised) / (1 + raised)
        return x * share


@dataclass(frozen=True)
class HardSigmoid(ElementFunction):
    """``min(max(slope * x + offset, 0), 1)``: 1/6 and 1/2 in Keras 3, 0.2 and 1/2 before."""

    kind = "hard_sigmoid"

    slope: float = 1 / 6
    offset: float = 0.5

    def of(self, x: Array) -> Array:
        return np.clip(x * self.slope + self.offset, 0, 1)


@dataclass(frozen=True)
class Softplus(ElementFunction):
    """``log(1 + exp(x))``."""

    kind = "softplus"

    def of(self, x: Array) -> Array:
        result: Array = np.logaddexp(0, x)
        return result


@dataclass(frozen=True)
class Softsign(ElementFunction):
    """``x / (1 + abs(x))``."""

    kind = "softsign"

    def of(self, x: Array) -> Array:
        result: Array = x / (1 + np.abs(x))
        return result


@dataclass(frozen=True)
class Gelu(ElementFunction):
    """Gaussian error linear unit; ``approximate`` uses tanh (Hendrycks and Gimpel 2016)."""

    kind = "gelu"

    approximate: bool = False

    def of(self, x: Array) -> Array:
        if self.approximate:
            smooth: Array = 0.5 * x * (1 + np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x**3)))
            return smooth
        erf = np.vectorize(math.erf, otypes=[np.float64])
        result: Array = 0.5 * x * (1 + erf(np.asarray(x, np.float64) / math.sqrt(2)))
        return result


@dataclass(frozen=True)
class Exponential(ElementFunction):
    """``exp(x)``."""

    kind = "exponential"

    def of(self, x: Array) -> Array:
        result: Array = np.exp(x)
        return result


@dataclass(frozen=True)
class Mish(ElementFunction):
    """``x * tanh(softplus(x))``."""

    kind = "mish"

    def of(self, x: Array) -> Array:
        result: Array = x * np.tanh(np.logaddexp(0, x))
        return result
