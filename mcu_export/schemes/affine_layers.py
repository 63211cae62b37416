"""The arithmetic of layers without weights in TensorFlow Lite's formats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcu_export.ops import (
    AveragePool2D,
    Clamp,
    Pad,
    Softmax,
    Subtract,
    elements,
)
from mcu_export.schemes.affine_arithmetic import (
    Fill,
    Requantize,
    ScaledJoin,
    ScaledMean,
    ScaledProduct,
    ScaledSum,
)
from mcu_export.schemes.affine_functions import element_function, softmax
from mcu_export.schemes.affine_task import (
    INTERPRETER,
    AffineValue,
    Task,
)
from mcu_export.schemes.arithmetic import Arithmetic, Average, Keep
from mcu_export.schemes.fixed_point import INT32_MAX, quantize_multiplier
from mcu_export.schemes.formats import Affine


def operands(task: Task) -> tuple[AffineValue, AffineValue]:
    """Both operands of an element-wise layer, the second perhaps a constant."""
    if len(task.inputs) == 2:
        return task.inputs[0], task.inputs[1]
    array, fmt = task.constants["operand"]
    assert isinstance(fmt, Affine)
    return task.inputs[0], AffineValue(fmt, int(array.min()), int(array.max()))


def sum_layer(task: Task) -> ScaledSum:
    """Both inputs on twice the larger scale, with ``left_shift`` bits below the point."""
    first, second = operands(task)
    left_shift = 20 if task.out.bits == 8 else 15
    twice = 2 * max(first.format.scale, second.format.scale)
    out_factor = twice / ((1 << left_shift) * task.out.scale)
    factors = (first.format.scale / twice, second.format.scale / twice, out_factor)
    most = max(first.largest, second.largest)
    if out_factor >= 1 or most << left_shift > INT32_MAX:
        raise task.fail("the scale of its output is far too small for that of its inputs")
    pairs = [quantize_multiplier(factor) for factor in factors]
    bound = sum(
        math.ceil(value.largest * (1 << left_shift) * factor) + 1
        for value, factor in zip((first, second), factors, strict=False)
    )
    low, high = task.limits()
    op = task.node.op
    swapped = isinstance(op, Subtract) and op.swapped
    if swapped:
        first, second = second, first
        pairs = [pairs[1], pairs[0], pairs[2]]
    return ScaledSum(
        offsets=(-first.format.zero_point, -second.format.zero_point),
        left_shift=left_shift,
        multipliers=(pairs[0][0], pairs[1][0], pairs[2][0]),
        shifts=(pairs[0][1], pairs[1][1], pairs[2][1]),
        sign=-1 if isinstance(op, Subtract) else 1,
        output_offset=task.out.zero_point,
        low=low,
        high=high,
        bound=bound,
    )


def product_layer(task: Task) -> ScaledProduct:
    """Product; its multiplier has float32 precision in the interpreter."""
    first, second = operands(task)
    precision = np.float32 if task.like == INTERPRETER else np.float64
    scales = (precision(fmt.scale) for fmt in (first.format, second.format, task.out))
    multiplier, shift = quantize_multiplier(_product_factor(*scales))
    bound = first.largest * second.largest
    task.require_room(bound, shift)
    low, high = task.limits()
    offsets = (-first.format.zero_point, -second.format.zero_point)
    return ScaledProduct(offsets, multiplier, shift, task.out.zero_point, low, high, bound)


def _product_factor(first: Any, second: Any, out: Any) -> float:
    return float(first * second / out)


def mean_layer(task: Task) -> ScaledMean:
    """The multiplier of the formats divided by the count, exactly as TFLite divides it."""
    (x,) = task.inputs
    count = elements(task.shapes[0][:2])
    multiplier, shift = quantize_multiplier(x.format.scale / task.out.scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    bound = count * max(x.largest, abs(x.low), abs(x.high))
    if bound << max(shift - extra, 0) > INT32_MAX:
        raise task.fail(f"the sum of {count} elements does not fit 32 bits", "pool in two steps")
    return ScaledMean(
        input_offset=-x.format.zero_point * count,
        multiplier=(multiplier << extra) // count,
        shift=shift - extra,
        output_offset=task.out.zero_point,
        low=task.out.lowest,
        high=task.out.highest,
        bound=bound,
    )


def average_layer(task: Task) -> Average:
    """Mean of a window, in the format of the input."""
    task.require_same_format()
    (x,) = task.inputs
    op = task.node.op
    assert isinstance(op, AveragePool2D)
    count = elements(op.kernel)
    bound = count * max(abs(x.low), abs(x.high)) + count // 2
    if bound > INT32_MAX:
        raise task.fail(f"the sum of {count} elements does not fit 32 bits", "pool in two steps")
    return Average(0, *task.limits(), bound)


def keep_layer(task: Task) -> Keep:
    """Values that move or compare and keep their format."""
    task.require_same_format()
    return Keep(*task.limits())


def fill_layer(task: Task) -> Fill:
    """A border of zeros or of another value, which saturates."""
    task.require_same_format()
    (x,) = task.inputs
    assert isinstance(task.node.op, Pad)
    value = int(x.format.quantize(np.array(task.node.op.value)))
    return Fill(value, min(x.low, value), max(x.high, value))


def requantize(x: AffineValue, out: Affine, low: int, high: int) -> Requantize:
    """The same real values in the format ``out``."""
    multiplier, shift = quantize_multiplier(x.format.scale / out.scale)
    return Requantize(-x.format.zero_point, multiplier, shift, out.zero_point, low, high)


def requantize_layer(task: Task) -> Requantize | Keep:
    """An activation that stands alone, or a conversion."""
    (x,) = task.inputs
    low, high = task.limits()
    if x.format == task.out and isinstance(task.node.op, Clamp):
        return Keep(low, high)
    made = requantize(x, task.out, low, high)
    task.require_room(x.largest, made.shift)
    return made


def join_layer(task: Task) -> ScaledJoin:
    """Concatenation."""
    low, high = task.out.lowest, task.out.highest
    parts = tuple(
        None if value.format == task.out else requantize(value, task.out, low, high)
        for value in task.inputs
    )
    return ScaledJoin(parts, low, high)


def function_layer(task: Task) -> Arithmetic:
    """A function of each element."""
    (x,) = task.inputs
    return element_function(task.node.op, x.format, task.out)


def softmax_layer(task: Task) -> Arithmetic:
    """Softmax over the last axis."""
    (x,) = task.inputs
    assert isinstance(task.node.op, Softmax)
    return softmax(task.node.op.beta, x.format, task.out, task.node.shape[-1])
