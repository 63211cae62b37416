"""Convolution 3x3 by Winograd's F(2x2, 3x3) in exact integers: q7 and int8.

A square of 2x2 outputs y comes from 4x4 inputs d and the 3x3 weights g of each input channel by 16
products in place of 36: y = A^T [sum over channels of (G g G^T) * (B^T d B)] A, the product taken
element by element, with

    B^T = 1  0 -1  0     2 G = 2  0  0     A^T = 1  1  1  0
          0  1  1  0           1  1  1           0  1 -1 -1
          0 -1  1  0           1 -1  1
          0  1  0 -1           0  0  2

G holds halves. With 2 G in its place all are integers, and what comes out is exactly 4 y: shifting
it to the right by 2 loses nothing, so that all bits are those of the other kernels. The weights
(2 G) g (2 G)^T are at most 9 * 128 and are made at export, 16 of 16 bits for 9 of 8 bits. The
transformed inputs B^T d B are at most 4 * 128.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.cost import Cost, work_of
from mcu_export.backends.plain_c.fast import CONV_COST, WORDS, sum_arguments, weights_comment
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.packing import in_quads
from mcu_export.backends.plain_c.sums import SumKernel, Sums, sums_of
from mcu_export.backends.plain_c.trailing import trail_of_blocks
from mcu_export.ops import Array, Conv2D
from mcu_export.program import Const, Overlap

TWICE_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
PLACES = 16
# Output channels of a step, input channels of a vector.
QUAD, GROUP = 4, 8
# Outputs of a step, two squares side by side, and their inputs.
STEP_HEIGHT, STEP_WIDTH = 2, 4
PATCH_WIDTH = 6
PATCH_PIXELS = 4 * PATCH_WIDTH
# Largest absolute value of a transformed input. Any int8 may lie where no output needs the input.
LARGEST = 4 * 128
COST = Cost(0.35, 14, 14)  # in q7


@dataclass(frozen=True)
class WinogradConv(SumKernel):
    """Convolution, two squares of 2x2 pixels at a time; ``zero`` fills the padding."""

    window: Window
    zero: int

    @property
    def places(self) -> int:
        """Transformed inputs of two squares."""
        return 2 * PLACES * self.window.in_channels

    @property
    def quad_weights(self) -> int:
        """Transformed weights of four output channels."""
        return QUAD * PLACES * self.window.in_channels

    @property
    def place_inputs(self) -> int:
        """Transformed inputs of two squares at one place."""
        return 2 * self.window.in_channels

    @property
    def place_weights(self) -> int:
        """Transformed weights of four output channels at one place."""
        return QUAD * self.window.in_channels

    @property
    def patch_row(self) -> int:
        """Elements of a row of the inputs of two squares."""
        return PATCH_WIDTH * self.window.in_channels

    @property
    def three_outputs(self) -> int:
        """Elements of three output pixels."""
        return 3 * self.outputs


def transform(weights: Array) -> Array:
    """``4 G g G^T`` of weights (out, 3, 3, in), as (out, 4, 4, in)."""
    made: Array = np.einsum("iy,jx,oyxc->oijc", TWICE_G, TWICE_G, weights)
    return made


def asked_for(context: LayerContext) -> bool:
    """Its weights take 3.6 times the flash: only with --optimize fastest."""
    return context.optimize == "fastest"


def three_by_three(context: LayerContext) -> bool:
    """The window must be 3x3 with strides and dilation 1."""
    op: Conv2D = context.op
    size = context.params["weights"].shape[1:3]
    return size == (3, 3) and op.strides == (1, 1) and op.dilation == (1, 1)


def channels_in_groups(context: LayerContext) -> bool:
    """The input channels must be a multiple of 8."""
    return context.shapes[0][2] % GROUP == 0


def waste(window: Window) -> float:
    """Pixels that are computed outside the output, as a share of those inside."""
    height = -(-window.out_height // STEP_HEIGHT) * STEP_HEIGHT
    width = -(-window.out_width // STEP_WIDTH) * STEP_WIDTH
    return height * width / window.pixels - 1


def pays(context: LayerContext) -> bool:
    """There must be channels and pixels enough that fewer products pay for the transforms."""
    node = context.layer.node
    work = work_of(node, dict(zip(node.inputs, context.shapes, strict=True)))
    cost = COST * (1 + waste(window_of(context, (3, 3))))
    return cost.instructions(work) < CONV_COST.instructions(work)


def small_sums(context: LayerContext) -> bool:
    """The sums of transformed weights must fit 32 bits."""
    if not (asked_for(context) and three_by_three(context)):
        return True  # there are none
    sums = sums_of(context)
    # In any order of summation over channels and places; the start is added 4 times.
    spread = np.abs(transform(sums.weights)).sum(axis=(1, 2, 3)).max() * LARGEST
    return bool(spread + 4 * sums.start < 2**31)


def _weights(context: LayerContext, sums: Sums) -> Const:
    """Transformed weights, [four of out][place][pair of in][out of the four][in of the pair]."""
    weights = sums.weights
    out, channels = weights.shape[0], weights.shape[3]
    whole = np.zeros((-(-out // QUAD) * QUAD, PLACES, channels), np.int64)
    whole[:out] = transform(weights).reshape(out, PLACES, channels)
    quads = in_quads(whole.reshape(-1, channels)).reshape(-1, QUAD, PLACES, channels // 2, 2)
    order = "4 G w G^T, [out / 4][place of 16][in / 2][out][in], of each 4 in: 0, 2, 1, 3"
    comment = weights_comment(context, "out, h, w, in", order)
    values = quads.transpose(0, 2, 3, 1, 4).ravel()
    return Const(context.name("weights"), "int16_t", values, comment, WORDS)


def conv2d(context: LayerContext) -> Call:
    """Call of a convolution by Winograd's algorithm."""
    sums, window = sums_of(context), window_of(context, (3, 3))
    kernel = WinogradConv(
        result=sums.result,
        outputs=window.out_channels,
        taps=9 * window.in_channels,
        window=window,
        zero=sums.zero,
    )
    patch = PATCH_PIXELS * window.in_channels // 2
    scratch = context.scratch(kernel.places + patch, "int16_t")
    return Call(
        "conv2d",
        arguments=sum_arguments(context, sums, scratch.variable),
        source=("plain_c/conv2d_winograd.c.j2", kernel),
        defines=sums.defines,
        consts=(_weights(context, sums), *sums.consts),
        helpers=sums.helpers,
        scratch=scratch,
        extra=COST * waste(window),
        overlaps=(Overlap(0, trail_of_blocks(window, STEP_HEIGHT, STEP_WIDTH)),),
    )


CONSTRAINTS = (asked_for, three_by_three, channels_in_groups, pays, small_sums)
