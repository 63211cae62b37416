"""What the weight header says of the arithmetic of a scheme."""

from __future__ import annotations

POWER_OF_TWO_NOTES = (
    "A value in Qm.f has f frac bits: real value = integer * 2^-f. Each layer computes",
    "",
    "  acc = (bias << BIAS_SHIFT) + ((1 << OUT_SHIFT) >> 1) + sum(weight * input)",
    "  output = saturate(acc >> OUT_SHIFT)",
)
AFFINE_NOTES = (
    "A real value is scale * (integer - zero point). Each layer with weights computes",
    "",
    "  acc = bias + sum(weight * (input - zero point)); where the window is never cut off, the",
    "        zero point of the input is in the bias already",
    "  output = saturate(acc * multiplier * 2^(shift - 31) + zero point), for 64-bit bias",
    "        acc * multiplier * 2^(shift - 15)",
)


def notes_on(scheme: str) -> tuple[str, ...]:
    """Lines of a comment."""
    return AFFINE_NOTES if scheme.startswith("int") else POWER_OF_TWO_NOTES
