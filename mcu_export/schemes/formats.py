"""How a real number is stored in an integer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

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

    def facts(self) -> dict[str, Any]:
        """What the manifest says of a tensor in this format."""
        return {"bits": self.bits, "frac_bits": self.frac_bits}

    def macros(self) -> tuple[tuple[str, int | str], ...]:
        """Macros of the public header for an input or output in this format."""
        return (("FRAC_BITS", self.frac_bits),)

    def formula(self) -> str:
        """How the real value follows from the integer."""
        return f"real value = integer * 2^{-self.frac_bits}"

    def text(self) -> str:
        """``Q4.3``: integer bits without the sign, then frac bits."""
        return f"Q{self.bits - 1 - self.frac_bits}.{self.frac_bits}"


@dataclass(frozen=True)
class Affine:
    """TensorFlow Lite's format: the real value is ``scale * (integer - zero_point)``.

    ``scale`` is a float32 number. Source: the TensorFlow Lite 8-bit quantization specification.
    """

    bits: int
    scale: float
    zero_point: int

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
        """Round half away from zero, saturate; int64. In float32, as TensorFlow Lite does it."""
        return _round_to(self, x, np.float32(self.scale), self.zero_point)

    def dequantize(self, integers: Array) -> Array:
        """Real values, float64."""
        return (np.asarray(integers, np.float64) - self.zero_point) * self.scale

    def facts(self) -> dict[str, Any]:
        """What the manifest says of a tensor in this format."""
        return {"bits": self.bits, "scale": self.scale, "zero_point": self.zero_point}

    def macros(self) -> tuple[tuple[str, int | str], ...]:
        """Macros of the public header for an input or output in this format."""
        return (("SCALE", f"{float_text(self.scale)}f"), ("ZERO_POINT", self.zero_point))

    def formula(self) -> str:
        """How the real value follows from the integer."""
        return f"real value = {float_text(self.scale)} * (integer - ({self.zero_point}))"

    def text(self) -> str:
        """``int8 0.5 (q - -128)``: type, scale, zero point."""
        offset = f" (q - {self.zero_point})" if self.zero_point else " q"
        return f"{self.dtype} {float_text(self.scale)}{offset}"


@dataclass(frozen=True)
class PerChannel:
    """Constants with a scale for each index of ``axis`` and no zero point.

    One scale alone serves all. ``bits`` is 4 or 8 for weights, 32 or 64 for a bias.
    """

    bits: int
    scales: tuple[float, ...]
    axis: int

    @property
    def lowest(self) -> int:
        """Smallest integer of the type."""
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """Largest integer of the type."""
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> str:
        """numpy name of the integer type; 4 bits are held in 8."""
        return f"int{max(self.bits, 8)}"

    def along(self, ndim: int) -> Array:
        """The scales, float64, shaped to multiply an array of ``ndim`` axes."""
        shape = [1] * ndim
        shape[self.axis] = -1
        return np.array(self.scales, np.float64).reshape(shape)

    def quantize(self, x: Array) -> Array:
        """Round half away from zero, saturate; int64."""
        wide = np.asarray(x, np.float64)
        return _round_to(self, wide, self.along(wide.ndim), 0)

    def dequantize(self, integers: Array) -> Array:
        """Real values, float64."""
        return np.asarray(integers, np.float64) * self.along(np.ndim(integers))

    def facts(self) -> dict[str, Any]:
        """What the manifest says of constants in this format."""
        return {"bits": self.bits, "scales": list(self.scales)}

    def text(self) -> str:
        """``int8 per channel`` or ``int8 0.5 q``."""
        if len(self.scales) > 1:
            return f"int{self.bits}, a scale per channel"
        return f"int{self.bits} {float_text(self.scales[0])} q"


def _round_to(fmt: Affine | PerChannel, x: Array, scale: Any, zero_point: int) -> Array:
    """Integers of ``x / scale``, halves away from zero, in the limits of ``fmt``."""
    scaled = np.asarray(x, np.asarray(scale).dtype) / scale
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + np.asarray(0.5, scaled.dtype))
    wide = np.clip(rounded.astype(np.float64), -(2.0**62), 2.0**62).astype(np.int64) + zero_point
    clipped: Array = np.clip(wide, fmt.lowest, fmt.highest)
    return clipped


def float_text(value: float) -> str:
    """A float32 number with as many digits as it needs, and a decimal point or exponent."""
    text = np.format_float_positional(np.float32(value), trim="0")
    return text if len(text) < 16 else np.format_float_scientific(np.float32(value), trim="0")


# One of the classes above. A scheme has formats of one kind, and its makers and kernels know which;
# spelled as a union, every use of a field would need a check that cannot fail.
Format: TypeAlias = Any
KINDS: tuple[type, ...] = (PowerOfTwo, Affine, PerChannel)
