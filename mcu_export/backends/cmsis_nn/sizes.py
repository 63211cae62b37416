"""Scratch memory of CMSIS-NN 7 in bytes: enough for the C, the DSP and the MVE paths.

The library's ``*_get_buffer_size_dsp`` and ``*_get_buffer_size_mve`` are meant for tools on a host;
what they compute is stated here, so that neither the library nor a target is needed. With ``mve``
the larger of all is taken, so that one export runs on every core; without, that of C and DSP.
"""

from __future__ import annotations

from mcu_export.backends.plain_c.kernels import Window

MVE_CHANNELS = 124  # channels that the MVE depthwise kernel takes at a time


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _pointwise(w: Window) -> bool:
    taps = (w.kernel_height, w.kernel_width, w.dilation_y, w.dilation_x)
    return taps == (1, 1, 1, 1) and not w.padded


def convolve_s8(w: Window, mve: bool) -> int:
    """Columns of two pixels as int16 (DSP) or of four pixels as int8 in whole vectors (MVE).

    The 1 x n kernel of MVE needs less than the general one.
    """
    if _pointwise(w):
        return 4 * w.in_channels if (w.stride_y, w.stride_x) == (1, 1) else 0
    column = w.kernel_height * w.kernel_width * w.in_channels
    return 4 * _up(column, 16 if mve else 4)


def convolve_s16(w: Window, mve: bool) -> int:
    """Two or four columns of int16."""
    column = w.kernel_height * w.kernel_width * w.in_channels
    return 8 * _up(column, 8) if mve else 4 * column


def depthwise_s8(w: Window, mve: bool) -> int:
    """A window of all channels as int16 (DSP), of a block of channels four times (MVE).

    With one input channel MVE copies the weights and runs a convolution.
    """
    taps = w.kernel_height * w.kernel_width
    plain = w.in_channels == w.out_channels and (w.dilation_y, w.dilation_x) == (1, 1)
    small = taps == 9 and w.kernel_height == 3 and max(w.pad_top, w.pad_left) <= 1
    dsp = 2 * w.in_channels * taps if plain and not small else 0
    if not mve:
        return dsp
    copied = convolve_s8(w, mve) + w.out_channels * taps if w.in_channels == 1 else 0
    return max(dsp, copied, 4 * MVE_CHANNELS * taps if plain else 0)


def depthwise_s16(w: Window, mve: bool) -> int:
    """A window of all channels as int16, four times with MVE, and 8 bytes that it reads too far."""
    window = w.in_channels * w.kernel_height * w.kernel_width
    return 8 * window + 8 if mve else 2 * window


def average_pool(w: Window) -> int:
    """A sum of 32 bits for each channel (DSP)."""
    return 4 * w.in_channels
