"""Sliding windows over images: shapes, SAME padding, patches. Shared by conv and pooling."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mcu_export.ops.base import Array, Padding, Shape, elements, require


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) along one axis.

    The odd element goes after, so with stride 2 it is not symmetric. Source: the TensorFlow
    documentation of ``tf.nn.convolution``, "Notes on padding".
    """
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def same_padding_2d(
    shape: Shape, kernel: tuple[int, int], strides: tuple[int, int], dilation: tuple[int, int]
) -> Padding:
    """SAME padding of an image of shape (H, W, C)."""
    top, bottom = same_padding(shape[0], kernel[0], strides[0], dilation[0])
    left, right = same_padding(shape[1], kernel[1], strides[1], dilation[1])
    return Padding(top, bottom, left, right)


def window_output(
    shape: Shape,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Height and width of the output of a sliding window."""
    require(len(shape) == 3, f"needs an image (H, W, C), got shape {shape}")
    require(min(*kernel, *strides, *dilation) >= 1, "kernel, strides and dilation must be positive")
    height = shape[0] + padding.top + padding.bottom - (kernel[0] - 1) * dilation[0] - 1
    width = shape[1] + padding.left + padding.right - (kernel[1] - 1) * dilation[1] - 1
    require(
        height >= 0 and width >= 0,
        f"window {kernel[0]}x{kernel[1]} does not fit into the image {shape[0]}x{shape[1]}",
    )
    return height // strides[0] + 1, width // strides[1] + 1


def pooling_output(
    shape: Shape, kernel: tuple[int, int], strides: tuple[int, int], padding: Padding
) -> Shape:
    """Shape of the output of a pooling, whose windows must all hold an element of the image."""
    p = padding
    require(
        max(p.top, p.bottom) < kernel[0] and max(p.left, p.right) < kernel[1],
        f"a window {kernel[0]}x{kernel[1]} may lie wholly in the padding {p.text()}",
        "pad less than the size of the window",
    )
    return *window_output(shape, kernel, strides, padding), shape[2]


def pad_image(x: Array, padding: Padding, value: float = 0) -> Array:
    """``x`` (N, H, W, C) with ``value`` around each image."""
    if padding == Padding():
        return x
    widths = ((0, 0), (padding.top, padding.bottom), (padding.left, padding.right), (0, 0))
    return np.pad(x, widths, constant_values=value)


def windows(
    x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """Every window of the padded ``x``: a view (N, out_h, out_w, kernel_h, kernel_w, C)."""
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    every = sliding_window_view(x, reach, axis=(1, 2))
    chosen = every[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(chosen, 3, -1)


def taps(
    x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilation: tuple[int, int]
) -> list[Array]:
    """For each tap, row by row, the view (N, out_h, out_w, C) that it sees of the padded ``x``."""
    seen = windows(x, kernel, strides, dilation)
    return [seen[:, :, :, row, column] for row in range(kernel[0]) for column in range(kernel[1])]


def patches(
    x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """im2col of the padded ``x``: (N, out_h, out_w, kernel_h * kernel_w * C)."""
    seen = windows(x, kernel, strides, dilation)
    return seen.reshape(*seen.shape[:3], elements(seen.shape[3:]))
