"""Pooling of plain-c; as the format of int8 stays, its kernels are those of q7."""

from __future__ import annotations

from dataclasses import dataclass

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.cost import NO_COST, Cost
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.trailing import trail_of_pixels
from mcu_export.program import Overlap, ctype_bytes

FOUR_AT_A_TIME = Cost(per_window=-3.1)  # what that saves
# Windows at the border have fewer taps, so that no loop over them is unrolled.
BORDER, BORDER_IN_WORDS = Cost(per_window=6.5), Cost(per_window=1.8)


@dataclass(frozen=True)
class PoolKernel:
    """Max or average pooling."""

    in_ctype: str
    ctype: str
    window: Window
    low: int
    high: int
    clamped: bool
    numerator: int = 1
    divisor: int = 1

    @property
    def in_bytes(self) -> bool:
        """Whether 16 channels can be compared at once, where there are vectors."""
        return self.ctype == "int8_t" and not self.clamped

    @property
    def in_words(self) -> bool:
        """Whether four channels can be compared at once."""
        return self.in_bytes and self.window.out_channels % 4 == 0


def _pool_call(context: LayerContext, function: str, kernel: PoolKernel) -> Call:
    """Call of ``max_pool2d`` or ``average_pool2d``."""
    trail = Overlap(0, trail_of_pixels(kernel.window, 0) * ctype_bytes(kernel.ctype))
    return Call(
        function,
        arguments=(context.inputs[0], context.output),
        source=(f"plain_c/{function}.c.j2", kernel),
        overlaps=(trail,) if kernel.in_ctype == kernel.ctype else (),
        extra=_extra(kernel) if function == "max_pool2d" else NO_COST,
    )


def _extra(kernel: PoolKernel) -> Cost:
    """What max pooling costs more or less than one channel at a time without a border."""
    padded = kernel.window.padded
    if kernel.in_words:
        return FOUR_AT_A_TIME + (BORDER_IN_WORDS if padded else NO_COST)
    return BORDER if padded else NO_COST


def _is_clamped(context: LayerContext) -> bool:
    """Whether the limits of the output cut off values that the input can take."""
    low, high = context.limits[0]
    return bool(context.arithmetic.low > low or context.arithmetic.high < high)


def max_pool(context: LayerContext) -> Call:
    """Call of max pooling."""
    a = context.arithmetic
    window = window_of(context, context.op.kernel)
    clamped = _is_clamped(context)
    kernel = PoolKernel(context.ctype, context.ctype, window, a.low, a.high, clamped)
    return _pool_call(context, "max_pool2d", kernel)


def average_pool(context: LayerContext) -> Call:
    """Call of average pooling in the power-of-two schemes."""
    a = context.arithmetic
    window = window_of(context, context.op.kernel)
    kernel = PoolKernel(
        context.in_ctypes[0],
        context.ctype,
        window,
        a.low,
        a.high,
        clamped=True,
        numerator=1 << max(a.shift, 0),
        divisor=1 << max(-a.shift, 0),
    )
    return _pool_call(context, "average_pool2d", kernel)


def affine_average_pool(context: LayerContext) -> Call:
    """Call of average pooling in the affine schemes."""
    a, window = context.arithmetic, window_of(context, context.op.kernel)
    kernel = PoolKernel(context.in_ctypes[0], context.ctype, window, a.low, a.high, clamped=True)
    return _pool_call(context, "average_pool2d", kernel)
