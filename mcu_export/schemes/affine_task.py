"""A layer whose integer arithmetic is wanted, with all that it follows from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Node
from mcu_export.ops import (
    Array,
    Limits,
    Shape,
)
from mcu_export.schemes.arithmetic import Arithmetic
from mcu_export.schemes.fixed_point import INT32_MAX
from mcu_export.schemes.formats import Affine, Format

# TFLite Micro (and CMSIS-NN), or the interpreter of recent TensorFlow releases, in which a dense
# layer rounds once and an element-wise product has a multiplier of float32 precision.
MICRO, INTERPRETER = "TensorFlow Lite Micro", "TensorFlow Lite interpreter"


Constants = Mapping[str, tuple[Array, Format]]


@dataclass(frozen=True)
class AffineValue:
    """What a layer knows of an input: its format and the integers it can really take."""

    format: Affine
    low: int
    high: int

    @property
    def largest(self) -> int:
        """Largest absolute value once the zero point is taken off."""
        return max(self.format.zero_point - self.low, self.high - self.format.zero_point)


@dataclass(frozen=True)
class Task:
    """A layer whose arithmetic is wanted.

    ``like`` names whose kernels are repeated where they differ: ``MICRO`` or ``INTERPRETER``.
    """

    node: Node
    inputs: tuple[AffineValue, ...]
    shapes: tuple[Shape, ...]
    out: Affine
    constants: Constants
    like: str

    def fail(self, what: str, fix: str = "") -> UnsupportedLayerError:
        """The error that this layer cannot be run."""
        return UnsupportedLayerError(
            what, where=f"layer {self.node.name!r} ({self.node.op.kind})", fix=fix
        )

    def limits(self) -> tuple[int, int]:
        """The limits of a fused activation as integers of the output format."""
        limits: Limits = getattr(self.node.op, "limits", Limits())
        low, high = self.out.lowest, self.out.highest
        if not math.isinf(limits.low):
            low = int(self.out.quantize(np.array(limits.low)))
        if not math.isinf(limits.high):
            high = int(self.out.quantize(np.array(limits.high)))
        return low, high

    def require_room(self, largest: int, shift: int) -> None:
        """Raise unless ``largest``, shifted left where ``shift`` is positive, fits 32 bits."""
        if largest << max(shift, 0) > INT32_MAX:
            raise self.fail("the scale of its output is far too small for that of its input")

    def require_same_format(self) -> None:
        """Raise unless the output has the format of every input."""
        for value in self.inputs:
            if value.format != self.out:
                raise self.fail(
                    f"its input is {value.format.text()}, its output {self.out.text()}; "
                    "they must be equal",
                    "quantize the network with a current TensorFlow Lite converter",
                )


Maker = Callable[[Task], Arithmetic]
