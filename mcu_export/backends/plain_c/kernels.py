"""The kernels of plain-c: frozen dataclasses that a template turns into a C function each.

A dataclass holds every number that the template prints, so that templates compute nothing and
equal layers share one function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcu_export.backends.base import LayerContext
from mcu_export.ops.base import Shape


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window.

    With ``by_rows`` the function computes rows ``begin`` to ``end - 1`` of the output, and its
    input begins with row ``from`` of the image; these are its arguments. The properties with C text
    serve both.
    """

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
    dilation_y: int
    dilation_x: int
    pad_top: int
    pad_left: int
    padded: bool
    by_rows: bool = False

    @property
    def text(self) -> str:
        """What a reader wants to know, for a comment."""
        strides = f"stride {self.stride_y}x{self.stride_x}"
        return (
            f"{self.in_height}x{self.in_width}x{self.in_channels} -> "
            f"{self.out_height}x{self.out_width}x{self.out_channels}, "
            f"window {self.kernel_height}x{self.kernel_width}, {strides}"
        )

    @property
    def pixels(self) -> int:
        """Pixels of the output."""
        return self.out_height * self.out_width

    @property
    def pairs(self) -> bool:
        """Whether there are two output pixels."""
        return self.pixels > 1

    @property
    def single(self) -> bool:
        """Whether the last output pixel has, or may have, no second one."""
        return (self.out_width if self.by_rows else self.pixels) % 2 == 1

    @property
    def row_parameters(self) -> str:
        """C text: parameters before the output."""
        return "int from, int begin, int end, " if self.by_rows else ""

    @property
    def begin(self) -> str:
        """C text: the first row of the output."""
        return "begin" if self.by_rows else "0"

    @property
    def end(self) -> str:
        """C text: the row after the last one."""
        return "end" if self.by_rows else str(self.out_height)

    @property
    def row(self) -> str:
        """C text: where row ``y`` of the image is in the input."""
        return "(y - from)" if self.by_rows else "y"

    @property
    def out_position(self) -> str:
        """C text: where row ``out_y`` is in the output."""
        return "(out_y - begin)" if self.by_rows else "out_y"

    @property
    def rows_text(self) -> str:
        """What a comment adds."""
        return ", rows begin to end - 1; `input` begins with row `from`" if self.by_rows else ""

    @property
    def span_y(self) -> int:
        """Input rows from the first to the last that a window covers."""
        return (self.kernel_height - 1) * self.dilation_y + 1

    @property
    def in_row(self) -> int:
        """Elements of an input row."""
        return self.in_width * self.in_channels

    @property
    def out_row(self) -> int:
        """Elements of an output row."""
        return self.out_width * self.out_channels

    @property
    def row_taps(self) -> int:
        """Inputs of one row of the window."""
        return self.kernel_width * self.in_channels

    @property
    def last_x(self) -> int:
        """The last column at which a window lies inside."""
        return self.in_width - (self.kernel_width - 1) * self.dilation_x - 1


def window_of(context: LayerContext, kernel: tuple[int, int]) -> Window:
    """The geometry of a conv, depthwise or pooling layer."""
    (shape,), out, op = context.shapes, context.shape, context.op
    dilation = getattr(op, "dilation", (1, 1))
    padding = op.padding
    return Window(
        in_height=shape[0],
        in_width=shape[1],
        in_channels=shape[2],
        out_height=out[0],
        out_width=out[1],
        out_channels=out[2],
        kernel_height=kernel[0],
        kernel_width=kernel[1],
        stride_y=op.strides[0],
        stride_x=op.strides[1],
        dilation_y=dilation[0],
        dilation_x=dilation[1],
        pad_top=padding.top,
        pad_left=padding.left,
        padded=padding.text() != "0,0,0,0",
    )


@dataclass(frozen=True)
class AccumulateKernel:
    """Conv, depthwise or dense: C types, geometry, saturation limits."""

    in_ctype: str
    weight_ctype: str
    bias_ctype: str
    ctype: str
    low: int
    high: int


def accumulate_fields(context: LayerContext) -> dict[str, Any]:
    """The fields of an :class:`AccumulateKernel`."""
    return {
        "in_ctype": context.in_ctypes[0],
        "weight_ctype": context.param_ctype("weights"),
        "bias_ctype": context.param_ctype("bias"),
        "ctype": context.ctype,
        "low": context.arithmetic.low,
        "high": context.arithmetic.high,
    }


@dataclass(frozen=True)
class WindowKernel(AccumulateKernel):
    """Conv and depthwise."""

    window: Window
    multiplier: int = 1


@dataclass(frozen=True)
class DenseKernel(AccumulateKernel):
    """Dense over ``rows`` rows."""

    rows: int
    in_size: int
    out_size: int


@dataclass(frozen=True)
class AddKernel:
    """Element-wise addition; ``first`` and ``second`` are C expressions of the shifted inputs."""

    first_ctype: str
    second_ctype: str
    ctype: str
    elements: int
    first: str
    second: str
    rounding: int
    out_shift: int
    low: int
    high: int


@dataclass(frozen=True)
class ClampKernel:
    """An activation that stands alone."""

    ctype: str
    elements: int
    low: int
    high: int


@dataclass(frozen=True)
class PadKernel:
    """Zeros around an image; sizes in elements."""

    ctype: str
    rows: int
    row_elements: int
    top_elements: int
    bottom_elements: int
    left_elements: int
    right_elements: int


@dataclass(frozen=True)
class SoftmaxKernel:
    """Softmax over ``row`` elements, ``rows`` times; the tables are arguments."""

    in_ctype: str
    ctype: str
    rows: int
    row: int
    table_size: int
    fine_size: int
    frac_bits: int
    high: int


def image_elements(shape: Shape) -> int:
    """Elements of one row of an image (H, W, C)."""
    return shape[1] * shape[2]
