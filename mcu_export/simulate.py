"""The integer network in float32: the fast instrument that searches over formats measure with.

Same arithmetic as :mod:`mcu_export.reference`, with integers held in float32 instead of int64. It
is exact while sums stay below 2**24 and else off by the rounding of float32, which moves an output
by one step now and then. That is good enough to compare formats, and several times faster. What is
exported always comes from the reference, and so do the layers that have no entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mcu_export.ops import (
    UNLIMITED,
    Add,
    Array,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Op,
    Pad,
    Reshape,
    Softmax,
)
from mcu_export.quantgraph import QuantNode
from mcu_export.reference import EXACT_FLOAT32, run_layer
from mcu_export.schemes.affine_arithmetic import Fill
from mcu_export.schemes.arithmetic import Accumulate, Average, ExpSum, Keep, Sum
from mcu_export.schemes.formats import Format

Simulated = Callable[[QuantNode, Any, list[Array], list[Format]], Array]


def simulate_layer(node: QuantNode, inputs: list[Array], formats: list[Format]) -> Array:
    """Output of one layer: integers in float32.

    Args:
        node: the layer in integers.
        inputs: integers in float32, of shape (samples, ...).
        formats: of the inputs.
    """
    known = SIMULATED.get(type(node.node.op))
    if known is None:
        exact = run_layer(node, [x.astype(np.int64) for x in inputs])
        return exact.astype(np.float32)
    return known(node, node.arithmetic, inputs, formats)


def quantize_float32(x: Array, fmt: Format) -> Array:
    """Integers of ``fmt`` for real values, in float32."""
    scaled = np.ldexp(np.asarray(x, np.float32), fmt.frac_bits)
    return _round(scaled, fmt.lowest, fmt.highest)


def _round(scaled: Array, low: int, high: int) -> Array:
    """Round half up and saturate, in place."""
    scaled += np.float32(0.5)
    return _floor(scaled, low, high)


def _floor(scaled: Array, low: int, high: int) -> Array:
    """Round down and saturate, in place."""
    np.floor(scaled, out=scaled)
    return np.clip(scaled, np.float32(low), np.float32(high), out=scaled)


def _accumulate(node: QuantNode, a: Accumulate, inputs: list[Array], _: list[Format]) -> Array:
    """Conv, depthwise, dense; weights and bias hold the shift, which loses no bit of a float."""
    bias = np.ldexp(node.params["bias"].astype(np.float32), a.bias_shift - a.out_shift)
    weights = np.ldexp(node.params["weights"].astype(np.float32), -a.out_shift)
    linear = replace(node.node.op, limits=UNLIMITED)  # type: ignore[call-arg]
    if a.bound >= EXACT_FLOAT32:
        scaled = linear.compute(inputs, {"weights": weights, "bias": bias})
        return _round(scaled, a.low, a.high)
    # Any order of adding gives the same: the half may come first.
    half = np.float32(0.5)
    scaled = linear.compute(inputs, {"weights": weights, "bias": bias + half})
    return _floor(scaled, a.low, a.high)


def _sum(node: QuantNode, a: Sum, inputs: list[Array], _: list[Format]) -> Array:
    first, second = (_shifted(x, shift) for x, shift in zip(inputs, a.shifts, strict=True))
    return _round((first + second) * np.float32(2.0**-a.out_shift), a.low, a.high)


def _shifted(x: Array, shift: int) -> Array:
    scaled: Array = x * np.float32(2.0**shift)
    return scaled if shift >= 0 else np.floor(scaled + np.float32(0.5))


def _average(node: QuantNode, a: Average, inputs: list[Array], _: list[Format]) -> Array:
    unlimited = replace(node.node.op, limits=UNLIMITED)  # type: ignore[call-arg]
    mean = unlimited.compute(inputs, {}) * np.float32(2.0**a.shift)
    away = np.trunc(mean + np.copysign(np.float32(0.5), mean))
    return np.clip(away, np.float32(a.low), np.float32(a.high))


def _keep(node: QuantNode, a: Keep | Fill, inputs: list[Array], _: list[Format]) -> Array:
    op = node.node.op
    if isinstance(op, Pad) and isinstance(a, Fill):
        op = replace(op, value=float(a.value))
    if isinstance(op, MaxPool2D):
        op = replace(op, limits=UNLIMITED)
    moved = inputs[0] if isinstance(op, Clamp) else op.compute(inputs, {})
    return np.clip(moved, np.float32(a.low), np.float32(a.high))


def _softmax(node: QuantNode, a: ExpSum, inputs: list[Array], formats: list[Format]) -> Array:
    """Softmax itself instead of its table: nothing is chosen by what the table loses."""
    real = np.ldexp(inputs[0], -formats[0].frac_bits)
    return _round(np.ldexp(node.node.op.compute([real], {}), a.frac_bits), a.low, a.high)


SIMULATED: Mapping[type[Op], Simulated] = {
    Conv2D: _accumulate,
    DepthwiseConv2D: _accumulate,
    Dense: _accumulate,
    Add: _sum,
    AveragePool2D: _average,
    MaxPool2D: _keep,
    Clamp: _keep,
    Pad: _keep,
    Reshape: _keep,
    Softmax: _softmax,
}
