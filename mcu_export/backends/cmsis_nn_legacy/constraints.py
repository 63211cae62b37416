"""When a legacy kernel gives the right integers on every core; each docstring is the error text.

Sources: the comments of CMSIS 5.9.0, and what its two paths (C for Cortex-M0, M3 and M55; DSP for
M4, M7 and M33) do beyond them. ``tests/contract/legacy`` states both.
"""

from __future__ import annotations

from mcu_export.backends.base import LayerContext
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.ops import Conv2D, Dense, DepthwiseConv2D, Shape, elements

COUNTER_MAX = 2**15 - 1
SIZE_MAX = 2**16 - 1
SHIFT_MAX = 30
OPT_COLUMNS = {8: 4, 16: 2}


def window(context: LayerContext) -> Window:
    """Geometry of a layer; dense over rows is a 1x1 convolution of an image one row high."""
    op = context.op
    if isinstance(op, Conv2D):
        return window_of(context, context.params["weights"].shape[1:3])
    if isinstance(op, DepthwiseConv2D):
        return window_of(context, context.params["weights"].shape[:2])
    if isinstance(op, Dense):
        return _rows_as_image(context)
    return window_of(context, op.kernel)


def _rows_as_image(context: LayerContext) -> Window:
    out_size, in_size = _matrix(context)
    rows = elements(context.shape) // out_size
    return Window(
        in_height=1,
        in_width=rows,
        in_channels=in_size,
        out_height=1,
        out_width=rows,
        out_channels=out_size,
        kernel_height=1,
        kernel_width=1,
        stride_y=1,
        stride_x=1,
        dilation_y=1,
        dilation_x=1,
        pad_top=0,
        pad_left=0,
        padded=False,
    )


def _matrix(context: LayerContext) -> Shape:
    """Outputs and inputs of a dense layer."""
    return context.params["weights"].shape


def square(context: LayerContext) -> bool:
    """Input, window, strides, padding on top and left, and output must be square."""
    w = window(context)
    return (
        w.in_height == w.in_width
        and w.kernel_height == w.kernel_width
        and w.stride_y == w.stride_x
        and w.pad_top == w.pad_left
        and w.out_height == w.out_width
    )


def not_dilated(context: LayerContext) -> bool:
    """The window must not be dilated."""
    w = window(context)
    return w.dilation_y == 1 and w.dilation_x == 1


def counters_fit(context: LayerContext) -> bool:
    """Sizes with padding must be below 32768 and a window below 65536: counters have 16 bits."""
    w = window(context)
    reached = (
        (w.out_height - 1) * w.stride_y + w.kernel_height,
        (w.out_width - 1) * w.stride_x + w.kernel_width,
    )
    sizes = (w.in_height, w.in_width, w.in_channels, w.out_height, w.out_width, w.out_channels)
    return (
        max(*sizes, *reached) <= COUNTER_MAX
        and w.kernel_height * w.kernel_width * w.in_channels <= SIZE_MAX
    )


def shifts_fit(context: LayerContext) -> bool:
    """Both shifts must lie in 0 .. 30."""
    a = context.arithmetic
    return bool(0 <= a.bias_shift <= SHIFT_MAX and 0 <= a.out_shift <= SHIFT_MAX)


def channels_in_fours(context: LayerContext) -> bool:
    """Input channels must be a multiple of 4, output channels of 2."""
    w = window(context)
    return w.in_channels % 4 == 0 and w.out_channels % 2 == 0


def channels_even(context: LayerContext) -> bool:
    """Input and output channels must be even."""
    w = window(context)
    return w.in_channels % 2 == 0 and w.out_channels % 2 == 0


def three_channels(context: LayerContext) -> bool:
    """There must be exactly 3 input channels."""
    return window(context).in_channels == 3


def pointwise(context: LayerContext) -> bool:
    """The window must be 1x1 with stride 1 and no padding."""
    w = window(context)
    sizes = {w.kernel_height, w.kernel_width, w.stride_y, w.stride_x}
    return not w.padded and sizes == {1}


def width_even(context: LayerContext) -> bool:
    """The output must have an even width: the DSP path computes pixels of a row in pairs."""
    return window(context).out_width % 2 == 0


def border_as_wide_as_padding(context: LayerContext) -> bool:
    """Only the first and the last outputs, as many as the padding, may see padding (DSP path)."""
    w = window(context)
    return _border_fits(w.in_height, w.kernel_height, w.stride_y, w.pad_top, w.out_height) and (
        _border_fits(w.in_width, w.kernel_width, w.stride_x, w.pad_left, w.out_width)
    )


def _border_fits(size: int, kernel: int, stride: int, before: int, out: int) -> bool:
    """Whether along one axis the windows between the borders lie inside the input."""
    last_inner = out - before - 1
    return out >= before and (last_inner < before or last_inner * stride - before + kernel <= size)


def one_filter_per_channel(context: LayerContext) -> bool:
    """The channel multiplier must be 1."""
    w = window(context)
    return w.in_channels == w.out_channels


def one_row(context: LayerContext) -> bool:
    """The input must be a single vector."""
    return window(context).in_width == 1


def vector_fits(context: LayerContext) -> bool:
    """Input and output must have at most 65535 elements: counters have 16 bits."""
    rows, columns = _matrix(context)
    return max(rows, columns) <= SIZE_MAX


def bias_as_wide_as_weights(context: LayerContext) -> bool:
    """The bias must have as many bits as the weights."""
    formats = context.layer.param_formats
    return bool(formats["bias"].bits == formats["weights"].bits)


def four_rows(context: LayerContext) -> bool:
    """Interleaving needs 4 outputs, and 4 inputs in q7 or 2 of 16 bits."""
    rows, columns = _matrix(context)
    return rows >= 4 and columns >= OPT_COLUMNS[context.layer.format.bits]


def padding_below_stride(context: LayerContext) -> bool:
    """The padding must be below the stride, or there must be one output (DSP path)."""
    w = window(context)
    return w.pad_left < w.stride_x or w.out_width == 1


def windows_reach_input(context: LayerContext) -> bool:
    """Every window must contain an element of the input."""
    w = window(context)
    return _reaches(w.in_height, w.kernel_height, w.stride_y, w.pad_top, w.out_height) and (
        _reaches(w.in_width, w.kernel_width, w.stride_x, w.pad_left, w.out_width)
    )


def _reaches(size: int, kernel: int, stride: int, before: int, out: int) -> bool:
    """Whether the first and the last window along one axis overlap the input."""
    return kernel > before and (out - 1) * stride - before < size


def row_fits(context: LayerContext) -> bool:
    """A row of the output must have at most 65535 elements: counters have 16 bits."""
    w = window(context)
    return w.out_width * w.out_channels <= SIZE_MAX


def input_not_needed_later(context: LayerContext) -> bool:
    """Nothing may read the input later: the kernel destroys it."""
    return not context.read_later[0]
