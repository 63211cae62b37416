"""The releases of CMSIS-NN: what changed in the functions that generated code calls.

This is the only place that knows versions. Calls, sizes and constraints ask a field of the release.
Read from the headers and sources of the tags v4.0.0, v4.1.0, v5.0.0, v6.0.0 and v7.0.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from mcu_export.backends.base import LayerContext


class DenseSums(Enum):
    """What the MVE path of ``arm_fully_connected_s8`` reads from its context, for each output."""

    NONE = "the function sums the weights itself"
    WEIGHTS = "the sum of the weights; the function multiplies it by the input offset"
    BIASED = "bias + input offset * sum of the weights; the bias itself is not read"


@dataclass(frozen=True)
class Release:
    """One release.

    Attributes:
        version: as tagged.
        declaration: C declaration that contradicts the header of another interface.
        dense_sums: what 8-bit dense layers are given for MVE.
        dense_per_channel: whether ``arm_fully_connected_per_channel_s8`` exists.
        four_bits: whether there are functions for weights of 4 bits.
        bias_struct: whether 16-bit conv takes its bias in a ``cmsis_nn_bias_data``.
        column: 8-bit conv copies columns of so many elements or a multiple; ``mve_column`` on MVE.
        wide_columns: whether 16-bit conv copies columns on all cores, and sums the last pixel of
            an odd number in 32 bits; before, it did so on DSP cores for windows of less than 512.
        pointwise_columns: whether 1x1 conv copies columns, with armclang on DSP cores.
        depthwise_as_conv: whether depthwise with one input channel becomes a conv on MVE.
    """

    version: str
    declaration: str
    dense_sums: DenseSums
    dense_per_channel: bool = False
    four_bits: bool = True
    bias_struct: bool = False
    column: int = 4
    mve_column: int = 16
    wide_columns: bool = True
    pointwise_columns: bool = False
    depthwise_as_conv: bool = False


def _vector_sum(more: str) -> str:
    return (
        f"arm_cmsis_nn_status arm_vector_sum_s8(int32_t *, int32_t, int32_t, const int8_t *{more});"
    )


_WITHOUT_VECTOR_SUM = "void arm_vector_sum_s8(void); /* only to tell: it came with 5.0.0 */"

RELEASES = {
    release.version: release
    for release in (
        Release(
            "4.0.0",
            _WITHOUT_VECTOR_SUM,
            DenseSums.NONE,
            four_bits=False,
            column=1,
            mve_column=8,
            wide_columns=False,
        ),
        Release(
            "4.1.0",
            _WITHOUT_VECTOR_SUM,
            DenseSums.NONE,
            four_bits=False,
            column=1,
            mve_column=8,
            wide_columns=False,
        ),
        Release(
            "5.0.0",
            _vector_sum(""),
            DenseSums.WEIGHTS,
            mve_column=8,
            wide_columns=False,
        ),
        Release(
            "6.0.0",
            _vector_sum(", int32_t, const int32_t *"),
            DenseSums.WEIGHTS,
            bias_struct=True,
        ),
        Release(
            "7.0.0",
            _vector_sum(", int32_t, int32_t, const int32_t *"),
            DenseSums.BIASED,
            dense_per_channel=True,
            bias_struct=True,
            pointwise_columns=True,
            depthwise_as_conv=True,
        ),
    )
}
NEWEST = "7.0.0"


def came_with(function: str, version: str, exists: bool) -> Callable[[LayerContext], bool]:
    """The constraint that a function exists in the release.

    Args:
        function: name of the library's function.
        version: release that it came with.
        exists: whether the release has it.
    """

    def constraint(_context: LayerContext) -> bool:
        return exists

    constraint.__doc__ = f"{function} came with CMSIS-NN {version}"
    return constraint
