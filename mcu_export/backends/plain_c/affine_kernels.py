"""Kernels of plain-c for the affine schemes: what their templates print.

Offsets are finished C text, ``" + 128"`` or empty, so that templates compute nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcu_export.backends.plain_c.kernels import Window


@dataclass(frozen=True)
class ScaledKernel:
    """What conv, depthwise, transposed conv and dense have in common.

    ``rescale`` is the helper that rescales, ``channel`` the index into multipliers and shifts.
    """

    in_ctype: str
    acc_ctype: str
    ctype: str
    input_offset: str
    rescale: str
    channel: str
    output_offset: str
    low: int
    high: int


@dataclass(frozen=True)
class ScaledWindowKernel(ScaledKernel):
    """Conv and depthwise; ``source`` is the input channel of a depthwise output channel."""

    window: Window
    source: str = "channel"


@dataclass(frozen=True)
class ScaledTransposeKernel(ScaledKernel):
    """Transposed conv."""

    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_top: int
    pad_left: int


@dataclass(frozen=True)
class ScaledDenseKernel(ScaledKernel):
    """Dense over ``rows`` rows."""

    rows: int
    in_size: int
    out_size: int


@dataclass(frozen=True)
class PairKernel:
    """Element-wise product; an index is ``i`` or wraps around a shorter operand."""

    ctype: str
    first_ctype: str
    second_ctype: str
    elements: int
    first_index: str
    second_index: str
    first_offset: str
    second_offset: str
    multiplier: int
    shift: int
    output_offset: str
    low: int
    high: int


@dataclass(frozen=True)
class SumVectors:
    """A sum four elements at a time: C expressions of the vectors, ``add`` the intrinsic.

    ``whole``: no vector is filled in part.
    """

    first: str
    second: str
    add: str
    result: str
    low: int
    high: int
    whole: bool


@dataclass(frozen=True)
class SumKernel:
    """Element-wise sum or difference.

    ``first`` and ``second`` are C expressions of the inputs on one scale, ``result`` that of what
    becomes of their ``sum``. ``vectors`` do the same where there are four lanes of 32 bits.
    """

    what: str
    ctype: str
    first_ctype: str
    second_ctype: str
    elements: int
    first: str
    second: str
    sign: str
    result: str
    vectors: SumVectors | None


@dataclass(frozen=True)
class MeanKernel:
    """Mean over ``count`` pixels; ``input_offset`` starts the sum."""

    in_ctype: str
    ctype: str
    count: int
    channels: int
    input_offset: int
    multiplier: int
    shift: int
    output_offset: str
    low: int
    high: int


@dataclass(frozen=True)
class RequantizeKernel:
    """Elements in another format."""

    in_ctype: str
    ctype: str
    elements: int
    input_offset: str
    multiplier: int
    shift: int
    output_offset: str
    low: int
    high: int


@dataclass(frozen=True)
class TwoSlopesKernel(RequantizeKernel):
    """The same with another factor below zero."""

    negative_multiplier: int
    negative_shift: int


@dataclass(frozen=True)
class PartKernel:
    """One of the tensors that are joined: ``run`` elements of it in each row."""

    ctype: str
    run: int
    same: bool
    input_offset: str = ""
    multiplier: int = 0
    shift: int = 0
    output_offset: str = ""


@dataclass(frozen=True)
class JoinKernel:
    """Tensors side by side."""

    ctype: str
    rows: int
    parts: tuple[PartKernel, ...]
    low: int
    high: int


@dataclass(frozen=True)
class FillKernel:
    """A border around an image; sizes in elements."""

    ctype: str
    value: int
    rows: int
    row_elements: int
    top_elements: int
    bottom_elements: int
    left_elements: int
    right_elements: int


@dataclass(frozen=True)
class TimeKernel:
    """Filters of an SVDF layer over its memory: ``taps`` products for each of ``units`` outputs."""

    in_ctype: str
    weight_ctype: str
    ctype: str
    units: int
    taps: int
    multiplier: int
    shift: int
    output_offset: str
    low: int
    high: int


@dataclass(frozen=True)
class ShareKernel:
    """Softmax over ``row`` elements, ``rows`` times."""

    rows: int
    row: int
    table_size: int
    multiplier: int = 0
    shift: int = 0


@dataclass(frozen=True)
class CurveKernel:
    """Logistic or tanh with 16 bits."""

    what: str
    elements: int
    multiplier: int
    half: int
    shift: int
    bits: int
    mask: int
    saturated: int
    above: int
    below: int
    out_shift: int


def offset_text(offset: int) -> str:
    """`` + 128``, `` - 5`` or nothing."""
    if offset == 0:
        return ""
    return f" {'+' if offset > 0 else '-'} {abs(offset)}"
