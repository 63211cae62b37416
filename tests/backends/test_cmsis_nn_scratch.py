"""Scratch sizes of cmsis-nn: what the library's own get_buffer_size functions gave, per release.

The numbers were printed by those functions, compiled for a Cortex-M4 (DSP) and M55 (MVE).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mcu_export.backends.cmsis_nn import sizes
from mcu_export.backends.cmsis_nn.releases import RELEASES, Release
from mcu_export.backends.plain_c.kernels import Window


def _window(size: int, channels: int, out: int, kernel: int, **more: int) -> Window:
    values = dict.fromkeys(("dilation_y", "dilation_x", "stride_y", "stride_x"), 1)
    values |= {"pad_top": 0, "pad_left": 0, "padded": False, **more}
    return Window(size, size, channels, size, size, out, kernel, kernel, **values)


Size = Callable[[Window, Release, bool], int]
# Without and with MVE, in the releases 4.0.0, 4.1.0, 5.0.0, 6.0.0, 7.0.0.
CASES: tuple[tuple[Size, Window, tuple[int, ...], tuple[int, ...]], ...] = (
    # 7.0.0 needs it with armclang only.
    (sizes.convolve_s8, _window(8, 8, 4, 1), (0, 0, 0, 0, 32), (0, 0, 0, 0, 32)),
    (sizes.convolve_s8, _window(8, 8, 4, 1, stride_x=2), (0,) * 5, (0,) * 5),
    (sizes.convolve_s8, _window(8, 3, 4, 3), (108, 108, 112, 112, 112), (128,) * 5),
    (
        sizes.convolve_s8,
        _window(8, 5, 4, 5),
        (500, 500, 512, 512, 512),
        (512, 512, 512, 512, 512),
    ),
    (sizes.convolve_s8, _window(8, 4, 4, 3), (144,) * 5, (160, 160, 160, 192, 192)),
    (sizes.convolve_s16, _window(8, 3, 4, 3), (108,) * 5, (108, 108, 108, 256, 256)),
    (
        sizes.convolve_s16,
        _window(8, 3, 4, 3, dilation_x=2),
        (0, 0, 0, 108, 108),
        (0, 0, 0, 256, 256),
    ),
    (
        sizes.convolve_s16,
        _window(8, 60, 4, 3),
        (0, 0, 0, 2160, 2160),
        (0, 0, 0, 4352, 4352),
    ),
    # 4.0.0 asks for 144 without MVE, but its 3x3 kernel does not use them.
    (sizes.depthwise_s8, _window(8, 8, 8, 3), (0,) * 5, (4464,) * 5),
    (sizes.depthwise_s8, _window(8, 8, 8, 5), (400,) * 5, (12400,) * 5),
    (sizes.depthwise_s8, _window(8, 8, 16, 3), (0,) * 5, (0,) * 5),
    (sizes.depthwise_s8, _window(8, 1, 8, 3), (0,) * 5, (0, 0, 0, 0, 136)),
    (sizes.depthwise_s8, _window(8, 1, 1, 2, dilation_x=2), (0,) * 5, (0,) * 5),
    (sizes.depthwise_s16, _window(8, 8, 8, 3), (144,) * 5, (584,) * 5),
    (sizes.depthwise_s16, _window(30, 2, 2, 23), (0,) * 5, (0,) * 5),
)


@pytest.mark.parametrize(("function", "window", "dsp", "mve"), CASES)
def test_scratch_sizes(
    function: Size, window: Window, dsp: tuple[int, ...], mve: tuple[int, ...]
) -> None:
    releases = RELEASES.values()
    assert tuple(function(window, release, False) for release in releases) == dsp
    assert tuple(function(window, release, True) for release in releases) == mve


def test_average_pool() -> None:
    assert sizes.average_pool(_window(8, 12, 12, 2)) == 48
