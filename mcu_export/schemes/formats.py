"""How a real number is stored in an integer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import Array


@dataclass(frozen=True)
class PowerOfTwo:
    """Q format: the real value is ``integer * 2**-frac_bits``.

    ``frac_bits`` may be negative (a step above 1) or above ``bits - 1`` (all values small); it is
    never clamped.
    """

    bits: int
    frac_bits: int

    @property
    def lowest(self) -> int:
        """Smallest integer: -128 or -32768."""
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """Largest integer: 127 or 32767."""
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> str:
        """numpy name of the integer type."""
        return f"int{self.bits}"

    def quantize(self, x: Array) -> Array:
        """Round half up, saturate; int64."""
        scaled = np.floor(np.ldexp(np.asarray(x, np.float64), self.frac_bits) + 0.5)
        clipped: Array = np.clip(scaled, self.lowest, self.highest).astype(np.int64)
        return clipped

    def dequantize(self, integers: Array) -> Array:
        """Real values, float64."""
        return np.ldexp(np.asarray(integers, np.float64), -self.frac_bits)

    def facts(self) -> dict[str, int]:
        """What the manifest says of a tensor in this format."""
        return {"bits": self.bits, "frac_bits": self.frac_bits}

    def text(self) -> str:
        """``Q4.3``: integer bits without the sign, then frac bits."""
        return f"Q{self.bits - 1 - self.frac_bits}.{self.frac_bits}"


Format = PowerOfTwo
KINDS: tuple[type[Format], ...] = (PowerOfTwo,)
