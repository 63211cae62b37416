"""Arithmetic between a tensor and constants in functional models: ``2 * x + 1``."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcu_export.loaders.keras_layer import Layer
from mcu_export.loaders.keras_layers import affine, vector
from mcu_export.loaders.keras_shapes import add
from mcu_export.ops import Array, Clamp, Limits


def plus(layer: Layer, inputs: list[str]) -> str:
    """``x + y``, of tensors or of a tensor and a constant; the layer ``Add`` too."""
    constant = _constant(layer, inputs)
    return add(layer, inputs) if constant is None else _affine(layer, inputs, 1.0, constant)


def minus(layer: Layer, inputs: list[str]) -> str:
    """``x - c`` and ``c - x``."""
    constant = _required(layer, inputs)
    if layer.use.constant_first:
        return _affine(layer, inputs, -1.0, constant)
    return _affine(layer, inputs, 1.0, -constant)


def times(layer: Layer, inputs: list[str]) -> str:
    """``x * c``."""
    return _affine(layer, inputs, _required(layer, inputs), 0.0)


def divided(layer: Layer, inputs: list[str]) -> str:
    """``x / c``."""
    constant = _required(layer, inputs)
    if layer.use.constant_first or not np.all(constant):
        raise layer.unsupported("a division by a tensor, or by 0, is not supported")
    return _affine(layer, inputs, 1 / constant, 0.0)


def negative(layer: Layer, inputs: list[str]) -> str:
    """``-x``."""
    return _affine(layer, inputs, -1.0, 0.0)


def maximum(layer: Layer, inputs: list[str]) -> str:
    """``maximum(x, c)`` of one number."""
    return layer.emit(Clamp(Limits(low=_number(layer, inputs))), inputs[0])


def minimum(layer: Layer, inputs: list[str]) -> str:
    """``minimum(x, c)`` of one number."""
    return layer.emit(Clamp(Limits(high=_number(layer, inputs))), inputs[0])


def _number(layer: Layer, inputs: list[str]) -> float:
    constant = _required(layer, inputs)
    if constant.size != 1:
        raise layer.unsupported("a limit for each channel is not supported", "use one number")
    return float(constant[0])


def _affine(layer: Layer, inputs: list[str], scale: Any, offset: Any) -> str:
    return affine(layer, inputs[0], np.atleast_1d(scale), np.atleast_1d(offset))


def _constant(layer: Layer, inputs: list[str]) -> Array | None:
    """The operand that is no tensor, if there is one."""
    constants = list(layer.use.constants)
    constants += [layer.use.options[k] for k in ("x", "y", "x1", "x2") if k in layer.use.options]
    if not constants:
        return None
    if len(inputs) != 1 or len(constants) != 1:
        raise layer.damaged(f"has {len(inputs)} tensors and {len(constants)} constants")
    return vector(layer, constants[0], "the constant")


def _required(layer: Layer, inputs: list[str]) -> Array:
    constant = _constant(layer, inputs)
    if constant is None:
        raise layer.unsupported(
            f"{layer.spec.class_name} of {len(inputs)} tensors is not supported",
            "of two tensors, only the sum is",
        )
    return constant
