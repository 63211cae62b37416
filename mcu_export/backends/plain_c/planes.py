"""Depthwise of plain-c, one channel plane after the other: q7 and the other widths, and int8.

A plane is a channel of some input rows with the padding around them, in 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.cost import NO_COST, Cost
from mcu_export.backends.plain_c.fast import sum_arguments
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.sums import (
    UNPACK,
    Result,
    Sums,
    channel_axes,
    largest_input,
    sums_of,
)
from mcu_export.backends.plain_c.trailing import trail_of_planes
from mcu_export.backends.plain_c.wide import column_sums
from mcu_export.program import Overlap
from mcu_export.schemes.nibbles import NIBBLE, pack_nibbles

PLANE_BYTES = 1024
SMALL_PLANE_BYTES = 256
ANY_WINDOW = Cost(per_mac=2.3)  # the loops for windows other than 3x3
PIECES = Cost(per_input=2.2, per_output=1.5)  # a plane that is copied in several pieces


@dataclass(frozen=True)
class PlaneDepthwise:
    """Depthwise over one channel plane after the other; sizes in elements of the plane."""

    result: Result
    in_ctype: str
    weight_ctype: str
    ctype: str
    zero: int
    window: Window
    multiplier: int
    weight_count: int
    three: bool
    in_place: bool
    pitch: int
    rows: int
    row_step: int
    tap_row: int
    pair_width: int
    pair_step_end: int
    odd_width: bool
    nibbles: bool
    plane_elements: int
    blocks: int
    block_rows: int
    first_pixel: int
    copy_rows: int
    copy_width: int
    kept_rows: int
    kept_from: int
    kept_elements: int

    @property
    def taps(self) -> str:
        """Name of the weights of a channel."""
        return "taps" if self.nibbles else "weights"

    @property
    def channel_bytes(self) -> int:
        """Elements of the constant from one channel's weights to the next."""
        return -(-self.weight_count // 2) if self.nibbles else self.weight_count

    @property
    def scatter(self) -> str:
        """The intrinsic that stores four outputs."""
        return (
            "vstrbq_scatter_offset_p_s32"
            if self.ctype == "int8_t"
            else "vstrhq_scatter_shifted_offset_p_s32"
        )

    @property
    def otherwise(self) -> str:
        """C text: the directive of what has no vectors."""
        return "elif" if self.result.lanes else "if"

    @property
    def filled_rows(self) -> str:
        """C text: how many rows of the plane ``rows`` of the output need."""
        w = self.window
        return f"(rows - 1) * {w.stride_y} + {w.span_y}" if w.by_rows else str(self.rows)

    @property
    def two_steps(self) -> int:
        """Elements of the plane from one pair of outputs to the next."""
        return 2 * self.window.stride_x

    @property
    def two_rows(self) -> int:
        """Elements of two rows of the plane."""
        return 2 * self.pitch

    @property
    def two_outputs(self) -> int:
        """Elements of two output pixels."""
        return 2 * self.window.out_channels

    @property
    def three_outputs(self) -> int:
        """Elements of three output pixels."""
        return 3 * self.window.out_channels


def small_sums(context: LayerContext) -> bool:
    """The sums must fit 32 bits."""
    sums = sums_of(context)
    largest = int(np.abs(sums.weights).sum(axis=channel_axes(context)).max())
    return largest * largest_input(context) + sums.start < 2**31


def depthwise(context: LayerContext, plane_bytes: int = PLANE_BYTES) -> Call:
    """Call of a depthwise convolution plane by plane; a piece of one has ``plane_bytes``."""
    sums = column_sums(context)
    weights = sums.weights
    window = window_of(context, (weights.shape[0], weights.shape[1]))
    kernel = _plane_kernel(context, window, sums, plane_bytes)
    scratch = context.scratch(kernel.plane_elements, "int16_t")
    by_channel = weights.transpose(2, 0, 1).reshape(window.out_channels, -1)
    const = context.const("weights", by_channel, "out, h, w")
    if kernel.nibbles:
        packed = np.concatenate([pack_nibbles(row) for row in by_channel])
        const = replace(const, values=packed, comment=f"{const.comment}, two in a byte")
    return Call(
        "depthwise_conv2d",
        arguments=sum_arguments(context, sums, scratch.variable),
        source=("plain_c/depthwise_plane.c.j2", kernel),
        defines=sums.defines,
        consts=(const, *sums.consts),
        helpers=(*sums.helpers, *((UNPACK,) if kernel.nibbles else ())),
        scratch=scratch,
        overlaps=(Overlap(0, 0, exact=True),) if kernel.in_place else (),
        extra=_extra(kernel),
    )


def _extra(kernel: PlaneDepthwise) -> Cost:
    window = NO_COST if kernel.three else ANY_WINDOW
    return window + (PIECES if kernel.blocks > 1 else NO_COST)


def small_depthwise(context: LayerContext) -> Call:
    """The same with less scratch memory."""
    return depthwise(context, SMALL_PLANE_BYTES)


def _plane_kernel(context: LayerContext, w: Window, sums: Sums, plane_bytes: int) -> PlaneDepthwise:
    multiplier = w.out_channels // w.in_channels
    span_x = (w.kernel_width - 1) * w.dilation_x + 1
    width = (w.out_width - 1) * w.stride_x + span_x
    pitch = -(-max(width, w.pad_left + 1) // 4) * 4
    # As many output rows at a time as the input rows of them fit.
    fitting = (plane_bytes // (2 * pitch) - w.span_y) // w.stride_y + 1
    block = min(max(fitting, 1), w.out_height)
    rows = (block - 1) * w.stride_y + w.span_y
    kept = max(0, rows - block * w.stride_y)
    three = (w.kernel_height, w.kernel_width, w.dilation_y, w.dilation_x) == (3, 3, 1, 1)
    return PlaneDepthwise(
        result=sums.result,
        in_ctype=context.in_ctypes[0],
        weight_ctype=context.param_ctype("weights"),
        ctype=context.ctype,
        zero=sums.zero,
        window=w,
        multiplier=multiplier,
        weight_count=w.kernel_height * w.kernel_width,
        three=three and w.stride_x <= 2,
        in_place=multiplier == 1
        and context.in_ctypes[0] == context.ctype
        and trail_of_planes(w, block),
        pitch=pitch,
        rows=rows,
        row_step=w.stride_y * pitch,
        tap_row=w.dilation_y * pitch,
        pair_width=w.out_width // 2,
        pair_step_end=w.out_width // 2 * 2 * w.stride_x,
        odd_width=w.out_width % 2 == 1,
        nibbles=context.layer.param_formats["weights"].bits == NIBBLE,
        plane_elements=rows * pitch + 4 * w.stride_x,
        blocks=-(-w.out_height // block),
        block_rows=block,
        first_pixel=w.pad_top * pitch + w.pad_left,
        copy_rows=max(0, min(w.in_height, rows - w.pad_top)),
        copy_width=max(0, min(w.in_width, width - w.pad_left)),
        kept_rows=kept,
        kept_from=(rows - kept) * pitch,
        kept_elements=kept * pitch,
    )
