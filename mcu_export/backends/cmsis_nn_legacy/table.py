"""The table of cmsis-nn-legacy: the fastest function first, plain-c where none can do a layer.

``arm_avepool_q7_HWC`` is not here because its two paths round differently, ``arm_softmax_*``
because their base is 2. Of layers with
8-bit weights and 16-bit activations, only dense ones have functions.
"""

from __future__ import annotations

from mcu_export.backends.base import Constraint, Kernel
from mcu_export.backends.cmsis_nn_legacy import calls
from mcu_export.backends.cmsis_nn_legacy import constraints as c
from mcu_export.backends.plain_c.table import KERNELS as PLAIN_C_KERNELS
from mcu_export.ops import Conv2D, Dense, DepthwiseConv2D, MaxPool2D, Op


def _conv(
    name: str, *needs: Constraint, op: type[Op] = Conv2D, windows: int = 2, scheme: str = "q7"
) -> Kernel:
    lower = calls.square_conv if c.square in needs else calls.conv
    lower = calls.rgb_conv if c.three_channels in needs else lower
    always = (c.not_dilated, c.counters_fit, c.shifts_fit)
    return Kernel(name, op, frozenset({scheme}), lower(name, windows), (*needs, *always))


def _dense(name: str, *needs: Constraint, scheme: str = "q7") -> Kernel:
    lower = calls.dense_opt if c.four_rows in needs else calls.dense
    always = (c.one_row, c.vector_fits, c.shifts_fit, c.bias_as_wide_as_weights)
    return Kernel(name, Dense, frozenset({scheme}), lower(name), (*needs, *always))


FAST = (c.channels_in_fours, c.border_as_wide_as_padding)
PAIRS = (c.channels_even, c.width_even)
DEPTHWISE = (c.one_filter_per_channel, c.channels_even)
POOL = (
    c.square,
    c.input_not_needed_later,
    c.padding_below_stride,
    c.windows_reach_input,
    c.row_fits,
    c.counters_fit,
)

CONV = (
    _conv("arm_convolve_1x1_HWC_q7_fast_nonsquare", c.pointwise, c.channels_in_fours),
    _conv("arm_convolve_HWC_q7_fast", c.square, *FAST),
    _conv("arm_convolve_HWC_q7_fast_nonsquare", *FAST),
    _conv("arm_convolve_HWC_q7_RGB", c.square, c.three_channels),
    _conv("arm_convolve_HWC_q7_basic", c.square),
    _conv("arm_convolve_HWC_q7_basic_nonsquare"),
    _conv("arm_convolve_HWC_q15_fast", c.square, *PAIRS, scheme="q15"),
    _conv("arm_convolve_HWC_q15_fast_nonsquare", *PAIRS, scheme="q15"),
    _conv("arm_convolve_HWC_q15_basic", c.square, windows=1, scheme="q15"),
)
DEPTHWISE_CONV = tuple(
    _conv(name, *needs, *DEPTHWISE, op=DepthwiseConv2D)
    for name, needs in (
        ("arm_depthwise_separable_conv_HWC_q7", (c.square,)),
        ("arm_depthwise_separable_conv_HWC_q7_nonsquare", ()),
    )
)
DENSE = (
    _dense("arm_fully_connected_q7_opt", c.four_rows),
    _dense("arm_fully_connected_q7"),
    _dense("arm_fully_connected_q15_opt", c.four_rows, scheme="q15"),
    _dense("arm_fully_connected_q15", scheme="q15"),
    _dense("arm_fully_connected_mat_q7_vec_q15_opt", c.four_rows, scheme="q15x7"),
    _dense("arm_fully_connected_mat_q7_vec_q15", scheme="q15x7"),
    # Over several rows: a 1x1 convolution.
    _conv("arm_convolve_1x1_HWC_q7_fast_nonsquare", c.channels_in_fours, op=Dense),
    _conv("arm_convolve_HWC_q7_basic_nonsquare", op=Dense),
    _conv("arm_convolve_HWC_q15_fast_nonsquare", *PAIRS, op=Dense, scheme="q15"),
)
MAX_POOL = Kernel(
    "arm_maxpool_q7_HWC", MaxPool2D, frozenset({"q7"}), calls.max_pool("arm_maxpool_q7_HWC"), POOL
)

KERNELS = (*CONV, *DEPTHWISE_CONV, *DENSE, MAX_POOL, *PLAIN_C_KERNELS)
