"""Scratch memory of CMSIS-NN in bytes, per release: enough for the C, the DSP and the MVE paths.

The library has ``*_get_buffer_size`` functions for it; what they compute is stated here, so that
neither the library nor a target is needed. With ``mve`` the larger of all is taken, so that one
export runs on every core; without, that of C and DSP.
"""

from __future__ import annotations

from mcu_export.backends.cmsis_nn.releases import Release
from mcu_export.backends.plain_c.kernels import Window

MVE_CHANNELS = 124  # channels that the MVE depthwise kernel takes at a time
FAST_TAPS = 512  # 16-bit kernels that sum in 32 bits are taken below so many taps


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _undilated(w: Window) -> bool:
    return (w.dilation_y, w.dilation_x) == (1, 1)


def _pointwise(w: Window) -> bool:
    return (w.kernel_height, w.kernel_width) == (1, 1) and _undilated(w) and not w.padded


def _column(w: Window) -> int:
    return w.kernel_height * w.kernel_width * w.in_channels


def convolve_s8(w: Window, release: Release, mve: bool) -> int:
    """Columns of two pixels as int16 (C, DSP) or of four pixels as int8 in whole vectors (MVE).

    The 1 x n kernel of MVE needs less than the general one.
    """
    if _pointwise(w):
        unit_stride = (w.stride_y, w.stride_x) == (1, 1)
        return 4 * w.in_channels if unit_stride and release.pointwise_columns else 0
    size = 4 * _up(_column(w), release.column)
    if not mve:
        return size
    return max(size, 4 * _up(_column(w), release.mve_column))


def convolve_s16(w: Window, release: Release, mve: bool) -> int:
    """Two columns of int16 (C, DSP) or four in whole vectors (MVE); before 6.0.0 DSP only."""
    if release.wide_columns:
        return 8 * _up(_column(w), 8) if mve else 4 * _column(w)
    return 4 * _column(w) if _column(w) < FAST_TAPS and _undilated(w) else 0


def convolve_s4(w: Window, release: Release, mve: bool) -> int:
    """Columns of two pixels as int16 (C, DSP) or, since 6.0.0, of four as int8 in vectors (MVE)."""
    if _pointwise(w):
        return 0
    return 4 * _up(_column(w), 16) if mve else 4 * _column(w)


def depthwise_s4(w: Window, release: Release, mve: bool) -> int:
    """As with 8 bits, but that a window is copied on all cores, whatever its size."""
    if w.in_channels != w.out_channels or not _undilated(w):
        return 0
    taps = w.kernel_height * w.kernel_width
    copied = 2 * w.in_channels * taps
    return max(copied, 4 * MVE_CHANNELS * taps) if mve else copied


def depthwise_s8(w: Window, release: Release, mve: bool) -> int:
    """A window of all channels as int16 (DSP), of a block of channels four times (MVE).

    The 3x3 kernel of DSP needs none. With one input channel MVE copies the weights and runs a
    convolution, since 7.0.0.
    """
    taps = w.kernel_height * w.kernel_width
    plain = w.in_channels == w.out_channels and _undilated(w)
    small = (w.kernel_height, w.kernel_width) == (3, 3) and max(w.pad_top, w.pad_left) <= 1
    dsp = 2 * w.in_channels * taps if plain and not small else 0
    if not mve:
        return dsp
    as_conv = release.depthwise_as_conv and w.in_channels == 1 < w.out_channels
    copied = convolve_s8(w, release, mve) + w.out_channels * taps if as_conv else 0
    return max(dsp, copied, 4 * MVE_CHANNELS * taps if plain else 0)


def depthwise_s16(w: Window, _release: Release, mve: bool) -> int:
    """A window of all channels as int16 (DSP), four times and 8 bytes that it reads too far (MVE).

    The same in all releases, but that 4.0.0 needs none for windows of 512 with all channels.
    """
    plain = w.in_channels == w.out_channels and _undilated(w)
    if not plain or w.kernel_height * w.kernel_width >= FAST_TAPS:
        return 0
    return 8 * _column(w) + 8 if mve else 2 * _column(w)


def average_pool(w: Window) -> int:
    """A sum of 32 bits for each channel (DSP)."""
    return 4 * w.in_channels
