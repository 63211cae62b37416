"""How the functions of CMSIS-NN are called: every size, offset and multiplier a constant.

q7 layers run on the same functions: all offsets are 0, the bias is shifted to the accumulator, and
the multiplier ``1 << (31 - out_shift)`` makes the rescaling the one rounding shift of q7.
"""

from __future__ import annotations

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.cmsis_nn import sizes
from mcu_export.backends.cmsis_nn.kernels import (
    ConvolveKernel,
    FullyConnectedKernel,
    PoolKernel,
    SoftmaxKernel,
)
from mcu_export.backends.cmsis_nn.releases import DenseSums, Release
from mcu_export.backends.plain_c.int4 import packed_weights, rows_window
from mcu_export.backends.plain_c.kernels import window_of
from mcu_export.ops import Array, AveragePool2D, Conv2D, Dense, DepthwiseConv2D, elements
from mcu_export.program import Const, Value
from mcu_export.schemes.arithmetic import Accumulate
from mcu_export.schemes.widths import INT4

SUCCESS = "ARM_CMSIS_NN_SUCCESS"
NO_BUFFER = "NULL"


def is_wide(context: LayerContext) -> bool:
    """Whether the layer has 16-bit activations."""
    return context.ctype == "int16_t"


def kernel_of(context: LayerContext) -> tuple[int, int]:
    """Height and width of a window."""
    if isinstance(context.op, DepthwiseConv2D):
        return context.params["weights"].shape[:2]
    if isinstance(context.op, Conv2D):
        return context.params["weights"].shape[1:3]
    height, width = context.op.kernel
    return height, width


def has_nibbles(context: LayerContext) -> bool:
    """Whether the layer has weights of 4 bits."""
    return context.scheme == INT4


def _suffix(context: LayerContext) -> str:
    if has_nibbles(context):
        return "s4"
    return "s16" if is_wide(context) else "s8"


def _scaling(context: LayerContext) -> tuple[Array, Array, Array, int, int]:
    """Bias, multipliers and shifts of the output channels; input and output offset."""
    a, bias = context.arithmetic, context.params["bias"]
    count = len(bias)
    if isinstance(a, Accumulate):
        shift = a.out_shift
        multiplier, left = (1 << (31 - shift), 0) if shift else (1 << 30, 1)
        return bias << a.bias_shift, np.full(count, multiplier), np.full(count, left), 0, 0
    multipliers = np.broadcast_to(np.array(a.multipliers), count)
    shifts = np.broadcast_to(np.array(a.shifts), count)
    return bias, multipliers, shifts, a.input_offset, a.output_offset


def _consts(context: LayerContext, axes: str) -> tuple[Const, Const, Const, Const]:
    bias, multipliers, shifts, _, _ = _scaling(context)
    ctype = "int64_t" if is_wide(context) else "int32_t"
    weights = context.const("weights", context.params["weights"], axes)
    return (
        packed_weights(context, axes) if has_nibbles(context) else weights,
        Const(context.name("bias"), ctype, bias, f"bias, [{len(bias)}] (out)"),
        Const(context.name("multipliers"), "int32_t", multipliers, "multipliers (out)"),
        Const(context.name("shifts"), "int32_t", shifts, "left shifts (out)"),
    )


def _scratch(context: LayerContext, size: int) -> tuple[Value | None, str]:
    if not size:
        return None, NO_BUFFER
    scratch = context.scratch(size, "int8_t")
    return scratch, scratch.variable


_SCRATCH = {
    ("convolve", "s4"): sizes.convolve_s4,
    ("convolve", "s8"): sizes.convolve_s8,
    ("convolve", "s16"): sizes.convolve_s16,
    ("depthwise_conv", "s4"): sizes.depthwise_s4,
    ("depthwise_conv", "s8"): sizes.depthwise_s8,
    ("depthwise_conv", "s16"): sizes.depthwise_s16,
}


def convolve(context: LayerContext, release: Release, mve: bool) -> Call:
    """Conv and depthwise through the wrappers, which choose the kernel; scratch for MVE or not.

    Dense, too: as a 1x1 conv over its rows it has a scale for each output.
    """
    depthwise = isinstance(context.op, DepthwiseConv2D)
    rows = isinstance(context.op, Dense)
    window = rows_window(context) if rows else window_of(context, kernel_of(context))
    a = context.arithmetic
    _, _, _, input_offset, output_offset = _scaling(context)
    suffix = _suffix(context)
    kind = "depthwise_conv" if depthwise else "convolve"
    size = _SCRATCH[kind, suffix](window, release, mve)
    as_struct = release.bias_struct and is_wide(context) and not depthwise
    multiplier = window.out_channels // window.in_channels
    kernel = ConvolveKernel(
        function=f"arm_{kind}_wrapper_{suffix}",
        in_ctype=context.ctype,
        ctype=context.ctype,
        low=a.low,
        high=a.high,
        window=window,
        acc_ctype="int64_t" if is_wide(context) else "int32_t",
        params="cmsis_nn_dw_conv_params" if depthwise else "cmsis_nn_conv_params",
        multiplier=f"{multiplier}, " if depthwise else "",
        filters=1 if depthwise else window.out_channels,
        filter_channels=window.out_channels if depthwise else window.in_channels,
        input_offset=input_offset,
        output_offset=output_offset,
        scratch_bytes=size,
        bias_argument="&bias_data" if as_struct else "bias",
    )
    scratch, variable = _scratch(context, size)
    consts = _consts(context, "h, w, out" if depthwise else "out, h, w, in")
    names = (const.name for const in consts)
    return Call(
        kind,
        arguments=(context.inputs[0], *names, variable, context.output),
        source=("cmsis_nn/convolve.c.j2", kernel),
        consts=consts,
        scratch=scratch,
        success=SUCCESS,
    )


def one_scale(context: LayerContext) -> bool:
    """Whether a dense layer has the same multiplier and shift for all outputs."""
    _, multipliers, shifts, _, _ = _scaling(context)
    return bool((multipliers == multipliers[0]).all() and (shifts == shifts[0]).all())


def fully_connected(context: LayerContext, release: Release) -> Call:
    """Dense with one multiplier, or one for each output; for MVE with the sums of the weights."""
    a, (out_size, in_size) = context.arithmetic, context.params["weights"].shape
    _, multipliers, shifts, input_offset, output_offset = _scaling(context)
    weights, bias, *scales = _consts(context, "out, in")
    one = one_scale(context)
    reads_sums = not (is_wide(context) or has_nibbles(context))
    sums = _dense_sums(context, release) if reads_sums else ()
    consts = (weights, bias, *(() if one else scales), *sums)
    prefix = context.name("")
    kernel = FullyConnectedKernel(
        function=f"arm_fully_connected_{'' if one else 'per_channel_'}{_suffix(context)}",
        in_ctype=context.ctype,
        ctype=context.ctype,
        low=a.low,
        high=a.high,
        constants=tuple(f"const {c.ctype} *{c.name.removeprefix(prefix)}" for c in consts),
        rows=elements(context.shape) // out_size,
        in_size=in_size,
        out_size=out_size,
        input_offset=input_offset,
        output_offset=output_offset,
        context=f"(void *)(uintptr_t)sums, {4 * out_size}" if sums else f"{NO_BUFFER}, 0",
        quant=f"cmsis_nn_per_{'tensor' if one else 'channel'}_quant_params",
        quant_values=f"{multipliers[0]}, {shifts[0]}"
        if one
        else "(int32_t *)(uintptr_t)multipliers, (int32_t *)(uintptr_t)shifts",
    )
    return Call(
        "fully_connected",
        arguments=(context.inputs[0], *(const.name for const in consts), context.output),
        source=("cmsis_nn/fully_connected.c.j2", kernel),
        consts=consts,
        success=SUCCESS,
    )


def _dense_sums(context: LayerContext, release: Release) -> tuple[Const, ...]:
    """What the release's MVE path reads from its context, if anything; see :class:`DenseSums`."""
    bias, _, _, input_offset, _ = _scaling(context)
    sums = context.params["weights"].sum(axis=1)
    name = context.name("sums")
    if release.dense_sums is DenseSums.WEIGHTS:
        return (Const(name, "int32_t", sums, "sums of the weights (out), for MVE"),)
    if release.dense_sums is DenseSums.BIASED:
        biased = bias + input_offset * sums
        comment = "bias + input offset * sums of the weights (out), for MVE"
        return (Const(name, "int32_t", biased, comment),)
    return ()


def pool(context: LayerContext) -> Call:
    """Max and average pooling whose output has the format of the input."""
    a, window = context.arithmetic, window_of(context, context.op.kernel)
    average = isinstance(context.op, AveragePool2D)
    size = sizes.average_pool(window) if average else 0
    name = f"arm_{'avgpool' if average else 'max_pool'}_{_suffix(context)}"
    kernel = PoolKernel(name, context.ctype, context.ctype, a.low, a.high, window, size)
    scratch, variable = _scratch(context, size)
    return Call(
        "avgpool" if average else "max_pool",
        arguments=(context.inputs[0], variable, context.output),
        source=("cmsis_nn/pool.c.j2", kernel),
        scratch=scratch,
        success=SUCCESS,
    )


def elementwise_add(context: LayerContext) -> Call:
    """Sum of two tensors."""
    a = context.arithmetic
    inputs = [
        str(number)
        for part in range(2)
        for number in (a.offsets[part], a.multipliers[part], a.shifts[part])
    ]
    tail = (a.output_offset, a.multipliers[2], a.shifts[2], a.low, a.high, elements(context.shape))
    return Call(
        f"arm_elementwise_add_{_suffix(context)}",
        arguments=(
            *context.inputs,
            *inputs,
            str(a.left_shift),
            context.output,
            *(str(number) for number in tail),
        ),
        success=SUCCESS,
    )


def elementwise_mul(context: LayerContext) -> Call:
    """Product of two tensors."""
    a = context.arithmetic
    tail = (a.output_offset, a.multiplier, a.shift, a.low, a.high, elements(context.shape))
    return Call(
        f"arm_elementwise_mul_{_suffix(context)}",
        arguments=(
            *context.inputs,
            *(str(offset) for offset in a.offsets),
            context.output,
            *(str(number) for number in tail),
        ),
        success=SUCCESS,
    )


def softmax(context: LayerContext) -> Call:
    """Softmax with 8 bits, and with 16 bits by two tables."""
    a, row = context.arithmetic, context.shape[-1]
    rows = elements(context.shape) // row
    if not is_wide(context):
        numbers = (rows, row, a.multiplier, a.shift, 1 - len(a.exps))
        arguments = (context.inputs[0], *(str(n) for n in numbers), context.output)
        return Call("arm_softmax_s8", arguments=arguments)
    consts = (
        Const(context.name("exp"), "int16_t", np.array(a.exp_table), "e^x, 513 points, Q0.15"),
        Const(
            context.name("reciprocal"),
            "int16_t",
            np.array(a.reciprocal_table),
            "1 / (1 + x), 513 points, Q0.15",
        ),
    )
    return Call(
        "softmax",
        arguments=(context.inputs[0], *(const.name for const in consts), context.output),
        source=("cmsis_nn/softmax.c.j2", SoftmaxKernel(rows, row, a.multiplier, a.shift)),
        consts=consts,
        success=SUCCESS,
    )
