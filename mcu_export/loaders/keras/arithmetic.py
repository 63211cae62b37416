"""Arithmetic of tensors and constants in functional models: ``2 * x + y``; the merge layers too."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcu_export.loaders.keras.layer import Handler, Layer
from mcu_export.loaders.keras.layers import affine
from mcu_export.ops import (
    Add,
    Array,
    Clamp,
    Limits,
    Maximum,
    Minimum,
    Multiply,
    Op,
    Plus,
    Subtract,
)

MAX_AXES = 8


def plus(layer: Layer, inputs: list[str]) -> str:
    """``x + y``, of tensors or of a tensor and a constant; the layer ``Add`` too."""
    constant = _constant(layer, inputs)
    if constant is None:
        return _chain(layer, inputs, Plus())
    return _scaled(layer, inputs[0], np.ones(1), constant)


def minus(layer: Layer, inputs: list[str]) -> str:
    """``x - y``, ``x - c`` and ``c - x``; the layer ``Subtract`` too."""
    constant = _constant(layer, inputs)
    if constant is None:
        return layer.emit(Subtract(), *_pair(layer, inputs))
    if layer.use.constant_first:
        return _scaled(layer, inputs[0], -np.ones(1), constant)
    return _scaled(layer, inputs[0], np.ones(1), -constant)


def times(layer: Layer, inputs: list[str]) -> str:
    """``x * y`` and ``x * c``; the layer ``Multiply`` too."""
    constant = _constant(layer, inputs)
    if constant is None:
        return _chain(layer, inputs, Multiply())
    return _scaled(layer, inputs[0], constant, np.zeros(1))


def divided(layer: Layer, inputs: list[str]) -> str:
    """``x / c``."""
    constant = _constant(layer, inputs)
    if constant is None or layer.use.constant_first or not np.all(constant):
        raise layer.unsupported("a division by a tensor, or by 0, is not supported")
    return _scaled(layer, inputs[0], 1 / constant, np.zeros(1))


def negative(layer: Layer, inputs: list[str]) -> str:
    """``-x``."""
    return affine(layer, inputs[0], -np.ones(1), np.zeros(1))


def square(layer: Layer, inputs: list[str]) -> str:
    """``x * x``."""
    return layer.emit(Multiply(), inputs[0], inputs[0])


def average(layer: Layer, inputs: list[str]) -> str:
    """The layer ``Average``: the mean of tensors, element by element."""
    if len(inputs) < 2:
        raise layer.unsupported(
            "the average of one tensor is not supported", "use mean over height and width"
        )
    total = _chain(layer, inputs, Plus(), part="sum")
    return affine(layer, total, np.asarray([1 / len(inputs)]), np.zeros(1))


def maximum(layer: Layer, inputs: list[str]) -> str:
    """``maximum(x, y)`` and ``maximum(x, c)``; the layer ``Maximum`` too."""
    constant = _constant(layer, inputs)
    if constant is not None and constant.size == 1:
        return layer.emit(Clamp(Limits(low=float(constant.ravel()[0]))), inputs[0])
    return _extreme(layer, inputs, Maximum(), constant)


def minimum(layer: Layer, inputs: list[str]) -> str:
    """``minimum(x, y)`` and ``minimum(x, c)``; the layer ``Minimum`` too."""
    constant = _constant(layer, inputs)
    if constant is not None and constant.size == 1:
        return layer.emit(Clamp(Limits(high=float(constant.ravel()[0]))), inputs[0])
    return _extreme(layer, inputs, Minimum(), constant)


def _extreme(layer: Layer, inputs: list[str], op: Op, constant: Array | None) -> str:
    if constant is None:
        return _chain(layer, inputs, op)
    return layer.emit(op, inputs[0], operand=_spread(layer, inputs[0], constant))


def _chain(layer: Layer, inputs: list[str], op: Op, part: str = "") -> str:
    """``op`` of all tensors, one after the other; sums of equal shapes are ``Add``."""
    if len(inputs) < 2:
        raise layer.damaged("takes two tensors or more and is given one")
    total = inputs[0]
    for number, other in enumerate(inputs[1:], start=1):
        last = number == len(inputs) - 1
        same = isinstance(op, Plus) and layer.shape(total) == layer.shape(other)
        name = part if last else f"{part}{number}"
        total = layer.emit(Add() if same else op, total, other, part=name)
    return total


def _pair(layer: Layer, inputs: list[str]) -> list[str]:
    if len(inputs) != 2:
        raise layer.damaged(f"takes two tensors and is given {len(inputs)}")
    return inputs


def _scaled(layer: Layer, value: str, scale: Array, offset: Array) -> str:
    """``value * scale + offset``: numbers, one for each channel, or one for each element."""
    channels = layer.shape(value)[-1]
    if all(c.size in (1, channels) and c.size == c.shape[-1] for c in (scale, offset)):
        return affine(layer, value, scale.ravel(), offset.ravel())
    if scale.size > 1:
        return layer.emit(Multiply(), value, operand=_spread(layer, value, scale))
    if scale.item() != 1:
        value = affine(layer, value, scale.ravel(), np.zeros(1))
    return layer.emit(Plus(), value, operand=_spread(layer, value, offset))


def _spread(layer: Layer, value: str, constant: Array) -> Array:
    """A constant for each element: the kernels repeat only numbers and channels."""
    shape = np.broadcast_shapes(layer.shape(value), constant.shape)
    layer.require_plausible(shape)
    return np.broadcast_to(constant, shape)


def _constant(layer: Layer, inputs: list[str]) -> Array | None:
    """The operand that is no tensor, if there is one; without the axis of the batch."""
    constants = list(layer.use.constants)
    constants += [layer.use.options[k] for k in ("x", "y", "x1", "x2") if k in layer.use.options]
    if not constants:
        return None
    if len(inputs) != 1 or len(constants) != 1:
        raise layer.damaged(f"has {len(inputs)} tensors and {len(constants)} constants")
    given, depth = constants[0], 0
    numbers: list[Any] = [given]
    while numbers and all(isinstance(one, list) for one in numbers) and depth <= MAX_AXES:
        numbers, depth = [item for one in numbers for item in one], depth + 1
    values = [layer.as_number(one, "the constant") for one in numbers]
    array = np.asarray(values, np.float64).reshape(np.shape(given) or (1,))
    rank = len(layer.shape(inputs[0]))
    if array.ndim > rank + 1 or (array.ndim > rank and array.shape[0] != 1):
        raise layer.unsupported(
            f"a constant of the shape {array.shape} is not supported",
            "give one number, one for each channel, or one for each element",
        )
    return array.reshape(array.shape[-rank:])


MERGES: dict[str, Handler] = {
    "Add": plus,
    "Average": average,
    "Divide": divided,
    "Maximum": maximum,
    "Minimum": minimum,
    "Multiply": times,
    "Negative": negative,
    "Square": square,
    "Subtract": minus,
    "TrueDivide": divided,
}
"""Layers, and classes of Keras 3 operations of the same names."""

TF_ARITHMETIC: dict[str, Handler] = {
    **dict.fromkeys(("__operators__.add", "math.add", "add"), plus),
    **dict.fromkeys(("math.subtract", "subtract"), minus),
    **dict.fromkeys(("math.multiply", "multiply"), times),
    **dict.fromkeys(("math.truediv", "truediv", "math.divide", "divide"), divided),
    **dict.fromkeys(("math.negative", "negative"), negative),
    **dict.fromkeys(("math.maximum", "maximum"), maximum),
    **dict.fromkeys(("math.minimum", "minimum"), minimum),
    **dict.fromkeys(("math.square", "square"), square),
}
"""Functions of TFOpLambda, without the ``tf.`` that its names may start with."""
