"""The arithmetic of SVDF layers, as ``EvalIntegerSVDF`` of TensorFlow Lite's reference kernels."""

from __future__ import annotations

import numpy as np

from mcu_export.ops import SvdfTime
from mcu_export.schemes.affine_arithmetic import Scaled, TimeSum
from mcu_export.schemes.affine_task import AffineValue, Task
from mcu_export.schemes.fixed_point import INT32_MAX, quantize_multiplier


def _factor(task: Task, x: AffineValue) -> tuple[int, int]:
    """Multiplier and shift, from a product and a quotient in float32 as the kernel has them."""
    _, weights_format = task.constants["weights"]
    (weight_scale,) = weights_format.scales
    product = np.float32(x.format.scale) * np.float32(weight_scale)
    return quantize_multiplier(float(product / np.float32(task.out.scale)))


def features_layer(task: Task) -> Scaled:
    """Features of the newest frame; they have no zero point."""
    (x,) = task.inputs
    weights, _ = task.constants["weights"]
    multiplier, shift = _factor(task, x)
    bound = int(np.abs(weights).sum(axis=1).max()) * x.largest
    task.require_room(bound, shift)
    return Scaled(
        input_offset=-x.format.zero_point,
        multipliers=(multiplier,),
        shifts=(shift,),
        rounding="double",
        acc_bits=32,
        output_offset=0,
        low=task.out.lowest,
        high=task.out.highest,
        bound=bound,
    )


def time_layer(task: Task) -> TimeSum:
    """Filters over the memory."""
    (x,) = task.inputs
    weights, _ = task.constants["weights"]
    bias, _ = task.constants["bias"]
    assert isinstance(task.node.op, SvdfTime)
    multiplier, shift = _factor(task, x)
    task.require_room(INT32_MAX, shift)
    by_unit = np.abs(weights).sum(axis=1).reshape(-1, task.node.op.rank).sum(axis=1)
    bound = int((by_unit * x.largest + np.abs(bias)).max())
    low, high = task.out.lowest, task.out.highest
    return TimeSum(multiplier, shift, task.out.zero_point, low, high, bound)
