"""Maximum, minimum and PReLU in TensorFlow Lite's formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcu_export.schemes.affine_arithmetic import Requantize, ScaledSelect, ScaledSlopes
from mcu_export.schemes.affine_layers import operands, requantize
from mcu_export.schemes.affine_task import INTERPRETER, AffineValue, Task
from mcu_export.schemes.fixed_point import quantize_multiplier
from mcu_export.schemes.formats import Affine


def select_layer(task: Task) -> ScaledSelect:
    """Maximum or minimum; TensorFlow Lite has one format for all, our own may have three."""
    first, second = (_in_output_format(task, value) for value in operands(task))
    return ScaledSelect((first, second), *task.limits())


def _in_output_format(task: Task, value: AffineValue) -> Requantize | None:
    if value.format == task.out:
        return None
    made = requantize(value, task.out, task.out.lowest, task.out.highest)
    task.require_room(value.largest, made.shift)
    return made


def slopes_layer(task: Task) -> ScaledSlopes:
    """PReLU; its multipliers have float32 precision in the interpreter."""
    (x,) = task.inputs
    alpha, fmt = task.constants["alpha"]
    assert isinstance(fmt, Affine)
    precision = np.float32 if task.like == INTERPRETER else np.float64
    scales = (precision(f.scale) for f in (x.format, fmt, task.out))
    identity, slope = (quantize_multiplier(factor) for factor in _factors(*scales))
    steepest = int(np.abs(alpha - fmt.zero_point).max())
    task.require_room(x.largest, identity[1])
    task.require_room(x.largest * steepest, slope[1])
    return ScaledSlopes(
        input_offset=-x.format.zero_point,
        slope_offset=-fmt.zero_point,
        multipliers=(identity[0], slope[0]),
        shifts=(identity[1], slope[1]),
        output_offset=task.out.zero_point,
        low=task.out.lowest,
        high=task.out.highest,
        bound=max(x.largest, x.largest * steepest),
    )


def _factors(x: Any, alpha: Any, out: Any) -> tuple[float, float]:
    return float(x / out), float(x * alpha / out)
