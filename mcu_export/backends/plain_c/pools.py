"""Pooling of plain-c in the power-of-two schemes."""

from __future__ import annotations

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.kernels import PoolKernel, window_of
from mcu_export.backends.plain_c.trailing import trail_of_pixels
from mcu_export.program import Overlap, ctype_bytes


def _pool_call(context: LayerContext, function: str, kernel: PoolKernel) -> Call:
    trail = Overlap(0, trail_of_pixels(kernel.window, 0) * ctype_bytes(kernel.ctype))
    return Call(
        function,
        arguments=(context.inputs[0], context.output),
        source=(f"plain_c/{function}.c.j2", kernel),
        overlaps=(trail,) if kernel.in_ctype == kernel.ctype else (),
    )


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
    """Call of average pooling."""
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
