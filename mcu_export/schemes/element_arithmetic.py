"""Integer arithmetic of layers that work element by element, and of those that join tensors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lookup:
    """A function of an 8-bit integer: ``out = table[x + 128]``."""

    table: tuple[int, ...]
    low: int
    high: int


@dataclass(frozen=True)
class Interpolate:
    """A function of a 16-bit integer, linear between 513 points.

    With ``u = x + 32768``, ``i = u >> 7`` and ``j = u & 127``:
    ``out = (table[i] * (128 - j) + table[i + 1] * j + 64) >> 7``.
    """

    table: tuple[int, ...]
    low: int
    high: int


@dataclass(frozen=True)
class Combine:
    """Two tensors, brought to common frac bits: ``how`` is plus, minus, maximum or minimum.

    ``a = x << shifts[0]``, ``b = y << shifts[1]``, where a negative shift is a right shift that
    rounds half up; ``out = saturate((a how b + ((1 << out_shift) >> 1)) >> out_shift)``.
    """

    how: str
    shifts: tuple[int, int]
    out_shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Product:
    """``out = saturate((x * y + ((1 << out_shift) >> 1)) >> out_shift)``."""

    out_shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Slopes:
    """``acc = x << slope_frac_bits`` where x is not negative, else ``x * alpha``.

    ``out = saturate((acc + ((1 << out_shift) >> 1)) >> out_shift)``.
    """

    slope_frac_bits: int
    out_shift: int
    low: int
    high: int
    bound: int


@dataclass(frozen=True)
class Join:
    """Tensors side by side, each shifted to the frac bits of the output.

    A negative shift is a right shift that rounds half up, a positive one saturates.
    """

    shifts: tuple[int, ...]
    low: int
    high: int


ElementArithmetic = Lookup | Interpolate | Combine | Product | Slopes | Join
ELEMENT_KINDS: tuple[type[ElementArithmetic], ...] = (
    Lookup,
    Interpolate,
    Combine,
    Product,
    Slopes,
    Join,
)
