"""Fast kernels of plain-c: conv and dense on paired weights, depthwise plane by plane.

They serve q7 and int8, which differ in what becomes of a sum (:mod:`.sums`); depthwise also the
other widths of power-of-two formats.

One generated source serves every core: the compiler's feature macros choose vectors (MVE), pairs
of 16 bits (DSP) or plain C, and all give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.packing import Paired, fits_accumulators, pair_weights
from mcu_export.backends.plain_c.sums import (
    Result,
    Sums,
    channel_axes,
    largest_input,
    sums_of,
)
from mcu_export.backends.plain_c.trailing import trail_of_pixels, trail_of_planes
from mcu_export.ops import elements
from mcu_export.program import Const, Overlap

PLANE_BYTES = 1024
SMALL_PLANE_BYTES = 256
MAX_OUT_SHIFT = 22
WORDS = 8


@dataclass(frozen=True)
class PairedKernel:
    """What conv and dense on paired weights share."""

    result: Result
    outputs: int
    odd_output: bool
    taps: int
    coded: bool
    suffix: str

    @property
    def whole(self) -> bool:
        """Whether there are always four output channels."""
        return self.outputs % 4 == 0

    @property
    def left(self) -> str:
        """C text: how many output channels are left where four are wanted; 4 or more: all four."""
        return "4" if self.whole else f"{self.outputs} - channel"

    @property
    def two_taps(self) -> int:
        """Weight elements of two pairs of channels; inputs of two pixels."""
        return 2 * self.taps

    @property
    def two_outputs(self) -> int:
        """Bytes of two output pixels."""
        return 2 * self.outputs


@dataclass(frozen=True)
class PairedConv(PairedKernel):
    """Convolution, two pixels at a time.

    ``pairs`` and ``single``: there are two pixels, there is a last single one. ``last_x`` is the
    last column at which a window lies inside. ``zero`` fills the padding. ``order`` is that of
    the inputs in vectors.
    """

    window: Window
    zero: int
    real_taps: int
    pad_taps: int
    row_taps: int
    last_x: int
    quads: bool
    expand: str
    border: str
    order: str
    pointwise: bool
    pairs: bool
    single: bool
    pair_pixels: int

    @property
    def two_inputs(self) -> int:
        """Bytes of two input pixels."""
        return 2 * self.window.in_channels

    @property
    def second_odd(self) -> int:
        """Distance of an odd channel of the second pixel from the even one of the first."""
        return self.outputs + 1

    @property
    def second_real_end(self) -> int:
        """End of the second pixel's inputs in the scratch memory, padding not counted."""
        return self.taps + self.real_taps


@dataclass(frozen=True)
class PairedDense(PairedKernel):
    """Dense, four output channels at a time."""

    rows: int
    in_size: int


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
    plane_elements: int
    blocks: int
    block_rows: int
    first_pixel: int
    copy_rows: int
    copy_width: int
    kept_rows: int
    kept_from: int
    kept_elements: int
    out_row: int

    @property
    def scatter(self) -> str:
        """The intrinsic that stores four outputs."""
        return (
            "vstrbq_scatter_offset_p_s32"
            if self.ctype == "int8_t"
            else "vstrhq_scatter_shifted_offset_p_s32"
        )

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


def paired_of(context: LayerContext, sums: Sums) -> Paired:
    """The weights of a conv or dense layer, paired."""
    dense = context.params["weights"].ndim == 2
    return pair_weights(sums.flat_weights, quads=dense or context.shapes[0][2] % 4 == 0)


def small_sums(context: LayerContext) -> bool:
    """The sums of paired weights must fit 32 bits."""
    sums, largest = sums_of(context), largest_input(context)
    odd = int(np.abs(sums.flat_weights).sum(axis=1).max()) * largest + sums.start
    return odd < 2**23 and fits_accumulators(paired_of(context, sums), largest, sums.start)


def small_shift(context: LayerContext) -> bool:
    """The output shift must be at most 22."""
    return bool(context.arithmetic.out_shift <= MAX_OUT_SHIFT)


def sums_in_lanes(context: LayerContext) -> bool:
    """The results must be shifted to the right by 2 to 22, the sums must fit 32 bits."""
    sums = sums_of(context)
    largest = int(np.abs(sums.weights).sum(axis=channel_axes(context)).max())
    fits = largest * largest_input(context) + sums.start < 2**31
    return fits and bool(sums.result.lanes)


def paired_const(context: LayerContext, paired: Paired, axes: str) -> Const:
    """Weights in pairs."""
    fmt = context.layer.param_formats["weights"]
    shape = "x".join(str(size) for size in context.params["weights"].shape)
    comment = f"weights, {shape} ({axes}), {fmt.text()}, as {paired.text()}"
    return Const(context.name("weights"), "int16_t", paired.elements.ravel(), comment, WORDS)


def _arguments(context: LayerContext, sums: Sums, scratch: str = "") -> tuple[str, ...]:
    return (
        context.inputs[0],
        context.name("weights"),
        *sums.arguments,
        *([scratch] if scratch else []),
        context.output,
    )


def conv2d(context: LayerContext) -> Call:
    """Call of a convolution on paired weights."""
    sums = sums_of(context)
    weights, paired = sums.weights, paired_of(context, sums)
    window = window_of(context, (weights.shape[1], weights.shape[2]))
    pixels = window.out_height * window.out_width
    real_taps = sums.flat_weights.shape[1]
    unit = weights.shape[1:3] == (1, 1) and context.op.strides == (1, 1) and not window.padded
    kernel = PairedConv(
        result=sums.result,
        outputs=window.out_channels,
        odd_output=window.out_channels % 2 == 1,
        taps=paired.taps,
        coded=paired.coded,
        suffix="_coded" if paired.coded else "",
        window=window,
        zero=sums.zero,
        real_taps=real_taps,
        pad_taps=paired.taps - real_taps,
        row_taps=window.kernel_width * window.in_channels,
        last_x=window.in_width - (window.kernel_width - 1) * window.dilation_x - 1,
        quads=paired.quads,
        expand="expand4" if paired.quads else "expand",
        border="border4" if paired.quads else "border",
        order="order4" if paired.quads else "order1",
        pointwise=unit,
        pairs=pixels > 1,
        single=pixels % 2 == 1,
        pair_pixels=pixels - pixels % 2,
    )
    scratch = context.scratch((2 if kernel.pairs else 1) * paired.taps, "int16_t")
    return Call(
        "conv2d",
        arguments=_arguments(context, sums, scratch.variable),
        source=("plain_c/conv2d_packed.c.j2", kernel),
        defines=sums.defines,
        consts=(paired_const(context, paired, "out, h, w, in"), *sums.consts),
        helpers=sums.helpers,
        scratch=scratch,
        overlaps=(Overlap(0, trail_of_pixels(window, 2)),),
    )


def dense(context: LayerContext) -> Call:
    """Call of a dense layer on paired weights."""
    sums = sums_of(context)
    weights, paired = sums.weights, paired_of(context, sums)
    outputs, in_size = weights.shape
    kernel = PairedDense(
        result=sums.result,
        outputs=outputs,
        odd_output=outputs % 2 == 1,
        taps=paired.taps,
        coded=paired.coded,
        suffix="_coded" if paired.coded else "",
        rows=elements(context.shape) // outputs,
        in_size=in_size,
    )
    return Call(
        "dense",
        arguments=_arguments(context, sums),
        source=("plain_c/dense_packed.c.j2", kernel),
        defines=sums.defines,
        consts=(paired_const(context, paired, "out, in"), *sums.consts),
        helpers=sums.helpers,
    )


def depthwise(context: LayerContext, plane_bytes: int = PLANE_BYTES) -> Call:
    """Call of a depthwise convolution plane by plane; a piece of one has ``plane_bytes``."""
    sums = sums_of(context)
    weights = sums.weights
    window = window_of(context, (weights.shape[0], weights.shape[1]))
    kernel = _plane_kernel(context, window, sums, plane_bytes)
    scratch = context.scratch(kernel.plane_elements, "int16_t")
    by_channel = weights.transpose(2, 0, 1)
    return Call(
        "depthwise_conv2d",
        arguments=_arguments(context, sums, scratch.variable),
        source=("plain_c/depthwise_plane.c.j2", kernel),
        defines=sums.defines,
        consts=(
            context.const("weights", by_channel, "out, h, w"),
            *sums.consts,
        ),
        scratch=scratch,
        overlaps=(Overlap(0, 0, exact=True),) if kernel.in_place else (),
    )


def small_depthwise(context: LayerContext) -> Call:
    """The same with less scratch memory."""
    return depthwise(context, SMALL_PLANE_BYTES)


def _plane_kernel(context: LayerContext, w: Window, sums: Sums, plane_bytes: int) -> PlaneDepthwise:
    multiplier = w.out_channels // w.in_channels
    span_y = (w.kernel_height - 1) * w.dilation_y + 1
    span_x = (w.kernel_width - 1) * w.dilation_x + 1
    width = (w.out_width - 1) * w.stride_x + span_x
    pitch = -(-max(width, w.pad_left + 1) // 4) * 4
    # As many output rows at a time as the input rows of them fit.
    fitting = (plane_bytes // (2 * pitch) - span_y) // w.stride_y + 1
    block = min(max(fitting, 1), w.out_height)
    rows = (block - 1) * w.stride_y + span_y
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
        plane_elements=rows * pitch + 4 * w.stride_x,
        blocks=-(-w.out_height // block),
        block_rows=block,
        first_pixel=w.pad_top * pitch + w.pad_left,
        copy_rows=max(0, min(w.in_height, rows - w.pad_top)),
        copy_width=max(0, min(w.in_width, width - w.pad_left)),
        kept_rows=kept,
        kept_from=(rows - kept) * pitch,
        kept_elements=kept * pitch,
        out_row=w.out_width * w.out_channels,
    )
