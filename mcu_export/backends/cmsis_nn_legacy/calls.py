"""How each group of legacy functions is called; x is the width, y is the height.

Sizes are plain numbers; shifts are the macros of the weight header. The functions that return
nothing are those without ``success``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.cmsis_nn_legacy.constraints import SIZE_MAX, window
from mcu_export.backends.cmsis_nn_legacy.interleave import interleaved
from mcu_export.backends.plain_c.kernels import ClampKernel
from mcu_export.backends.plain_c.sums import format_defines
from mcu_export.ops import elements
from mcu_export.program import Const, Value

Lower = Callable[[LayerContext], Call]

SUCCESS = "ARM_MATH_SUCCESS"
NO_BUFFER = "NULL"


def rgb_conv(function: str, windows: int) -> Lower:
    """Square conv of 3 channels: the DSP path reads a pixel as a word of 4 bytes."""
    lower = square_conv(function, windows)
    return lambda context: replace(lower(context), reads_behind=1)


def square_conv(function: str, windows: int) -> Lower:
    """Conv or depthwise with one size per tensor; scratch for ``windows`` windows."""

    def lower(context: LayerContext) -> Call:
        w = window(context)
        source = (w.in_width, w.in_channels)
        taps = (w.out_channels, w.kernel_width, w.pad_left, w.stride_x)
        return _conv(context, function, windows, source, taps, (w.out_width,))

    return lower


def conv(function: str, windows: int) -> Lower:
    """Conv, depthwise or dense over rows with a size for x and one for y."""

    def lower(context: LayerContext) -> Call:
        w = window(context)
        source = (w.in_width, w.in_height, w.in_channels)
        taps = (w.out_channels, w.kernel_width, w.kernel_height)
        steps = (w.pad_left, w.pad_top, w.stride_x, w.stride_y)
        return _conv(context, function, windows, source, taps + steps, (w.out_width, w.out_height))

    return lower


def _conv(
    context: LayerContext,
    function: str,
    windows: int,
    source: tuple[int, ...],
    taps: tuple[int, ...],
    target: tuple[int, ...],
) -> Call:
    w = window(context)
    weights, bias = _constants(context)
    elements_of_window = w.kernel_height * w.kernel_width * w.in_channels
    scratch = context.scratch(windows * elements_of_window, "int16_t")
    arguments = _texts(context.inputs[0], *source, weights.name, *taps, bias.name)
    arguments += _shifts(context)
    arguments += _texts(context.output, *target, scratch.variable, NO_BUFFER)
    return _accumulate(context, function, arguments, (weights, bias), scratch)


def dense(function: str) -> Lower:
    """One vector times the weights, row by row."""

    def lower(context: LayerContext) -> Call:
        return _dense(context, function, *_constants(context))

    return lower


def dense_opt(function: str) -> Lower:
    """One vector times the weights, interleaved offline."""

    def lower(context: LayerContext) -> Call:
        weights, bias = _constants(context)
        ordered = interleaved(context.params["weights"], context.scheme)
        comment = f"{weights.comment}, in the order of {function}"
        return _dense(context, function, replace(weights, values=ordered, comment=comment), bias)

    return lower


def _dense(context: LayerContext, function: str, weights: Const, bias: Const) -> Call:
    rows, columns = context.params["weights"].shape
    # q7 vectors are expanded to 16 bits, q15 vectors are read as they are.
    scratch = context.scratch(columns, "int16_t") if context.layer.format.bits == 8 else None
    arguments = _texts(context.inputs[0], weights.name, columns, rows)
    arguments += _shifts(context)
    arguments += (bias.name, context.output, scratch.variable if scratch else NO_BUFFER)
    return _accumulate(context, function, arguments, (weights, bias), scratch)


def max_pool(function: str) -> Lower:
    """Square max pooling, which returns nothing and destroys its input."""

    def lower(context: LayerContext) -> Call:
        w = window(context)
        arguments = _texts(context.inputs[0], w.in_width, w.in_channels, w.kernel_width)
        arguments += _texts(w.pad_left, w.stride_x, w.out_width, NO_BUFFER, context.output)
        return Call(function, arguments, then=_activation(context, *context.limits[0]))

    return lower


def _accumulate(
    context: LayerContext,
    function: str,
    arguments: tuple[str, ...],
    consts: tuple[Const, Const],
    scratch: Value | None,
) -> Call:
    output = context.layer.format
    return Call(
        function,
        arguments,
        defines=format_defines(context),
        consts=consts,
        scratch=scratch,
        success=SUCCESS,
        then=_activation(context, output.lowest, output.highest),
    )


def _activation(context: LayerContext, low: int, high: int) -> Call | None:
    """What limits an output of ``low`` .. ``high``, if the layer's own limits are narrower."""
    a, size = context.arithmetic, elements(context.shape)
    if a.low <= low and a.high >= high:
        return None
    if a.low == 0 and a.high >= high and size <= SIZE_MAX:
        return Call(f"arm_relu_q{context.layer.format.bits - 1}", (context.output, str(size)))
    return Call(
        "clamp",
        (context.output, context.output),
        source=("plain_c/clamp.c.j2", ClampKernel(context.ctype, size, a.low, a.high)),
    )


def _constants(context: LayerContext) -> tuple[Const, Const]:
    axes = {2: "out, in", 3: "h, w, out", 4: "out, h, w, in"}
    weights = context.params["weights"]
    return (
        context.const("weights", weights, axes[weights.ndim]),
        context.const("bias", context.params["bias"], "out"),
    )


def _shifts(context: LayerContext) -> tuple[str, str]:
    return context.macro("BIAS_SHIFT"), context.macro("OUT_SHIFT")


def _texts(*arguments: str | int) -> tuple[str, ...]:
    return tuple(str(argument) for argument in arguments)
