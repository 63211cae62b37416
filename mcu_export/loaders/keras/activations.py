"""Activations of Keras: by the name that a layer states, as a layer, and as a function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mcu_export.loaders.keras.layer import Handler, Layer
from mcu_export.ops import (
    RELU,
    RELU6,
    Array,
    Clamp,
    Elu,
    Exponential,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Limits,
    Logistic,
    Mish,
    Op,
    PRelu,
    Softmax,
    Softplus,
    Softsign,
    Swish,
    Tanh,
)

Make = Callable[[Layer], Op]

SELU = Elu(alpha=1.6732632423543772, scale=1.0507009873554805)  # as keras.activations.selu


def _number(layer: Layer, default: float, *keys: str) -> float:
    """An argument that is a number."""
    value = layer.argument(*keys)
    value = value["value"] if isinstance(value, dict) and "value" in value else value
    return default if value is None else layer.as_number(value, keys[0])


def _elu(layer: Layer) -> Op:
    return Elu(alpha=_number(layer, 1.0, "alpha"))


def _celu(layer: Layer) -> Op:
    if _number(layer, 1.0, "alpha") != 1:
        raise layer.unsupported("celu is supported only with alpha=1", "use elu")
    return Elu()


def _gelu(layer: Layer) -> Op:
    return Gelu(approximate=bool(layer.argument("approximate")))


def _hard_sigmoid(layer: Layer) -> Op:
    """Keras 3 computes x/6 + 0.5, the versions before it 0.2 x + 0.5."""
    return HardSigmoid(slope=1 / 6 if layer.keras_major >= 3 else 0.2)


def _leaky_relu(layer: Layer, default: float = 0.2) -> Op:
    return LeakyRelu(_number(layer, default, "negative_slope", "alpha"))


def _always(op: Op) -> Make:
    return lambda _: op


MAKERS: dict[str, Make] = {
    "celu": _celu,
    "elu": _elu,
    "exponential": _always(Exponential()),
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    **dict.fromkeys(("hard_silu", "hard_swish"), _always(HardSwish())),
    "hard_tanh": _always(Clamp(Limits(-1.0, 1.0))),
    "leaky_relu": _leaky_relu,
    "mish": _always(Mish()),
    "relu6": _always(Clamp(RELU6)),
    "selu": _always(SELU),
    "sigmoid": _always(Logistic()),
    **dict.fromkeys(("silu", "swish"), _always(Swish())),
    "softplus": _always(Softplus()),
    "softsign": _always(Softsign()),
    "sparse_sigmoid": _always(HardSigmoid(slope=0.5)),
    "tanh": _always(Tanh()),
}
"""Activations by name that are one op without a choice of the axis."""


def activate(layer: Layer, value: str, part: bool = True) -> str:
    """Apply the ``activation`` of the configuration: a name, or a layer that is one.

    The node is called ``layer/activation``, or like the layer itself without ``part``.
    """
    wanted = layer.spec.config.get("activation")
    settings: dict[str, Any] = {}
    if isinstance(wanted, dict):
        inside = wanted.get("config")
        settings = inside if isinstance(inside, dict) else {}
        wanted = inside if isinstance(inside, str) else wanted.get("class_name")
    name = ALIASES.get(str(wanted), str(wanted))
    if wanted is None or name == "linear":
        return value
    if name not in NAMED:
        raise layer.unsupported(
            f"the activation {name[:60]!r} is not supported",
            f"use one of: linear, {', '.join(sorted(NAMED))}",
        )
    # The configuration of the activation alone: the layer around it may use the same words.
    spec = replace(layer.spec, config=settings)
    alone = replace(layer, spec=spec, use=replace(layer.use, options={}))
    return NAMED[name](alone, value, name if part else "")


def relu(layer: Layer, value: str, part: str = "") -> str:
    """ReLU with or without a slope below zero and a largest value."""
    if _number(layer, 0.0, "threshold", "theta") != 0:
        raise layer.unsupported(
            f"ReLU with threshold={_number(layer, 0.0, 'threshold', 'theta'):g} is not supported",
            "only negative_slope and max_value are; train with a threshold of 0",
        )
    slope = _number(layer, 0.0, "negative_slope", "alpha")
    high = _number(layer, math.inf, "max_value")
    if high < 0:
        raise layer.damaged(f"max_value is {high:g}")
    if slope == 0:
        return layer.emit(Clamp(Limits(RELU.low, high)), value, part=part)
    made = layer.emit(LeakyRelu(slope), value, part=part)
    return made if high == math.inf else layer.emit(Clamp(Limits(high=high)), made, part="limit")


def softmax(layer: Layer, value: str, part: str = "") -> str:
    """Softmax over the last axis."""
    axis = layer.argument("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (None, -1, len(layer.shape(value))):
        raise layer.unsupported(f"softmax over the axis {axis}; only the last one is supported")
    return layer.emit(Softmax(), value, part=part)


def _made(layer: Layer, value: str, part: str, make: Make) -> str:
    return layer.emit(make(layer), value, part=part)


def prelu(layer: Layer, inputs: list[str]) -> str:
    """PReLU: slopes for each channel, or for each element, which are channels of a vector."""
    shape = layer.shape(inputs[0])
    shared = layer.setting("shared_axes", [])
    axes = {axis % (len(shape) + 1) for axis in layer.integers(shared, "shared_axes", -len(shape))}
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape, start=1))
    alpha = layer.weight("alpha", kept)
    if math.prod(kept[:-1]) == 1:
        return layer.emit(PRelu(), inputs[0], alpha=alpha.reshape(-1))
    slopes: Array = np.broadcast_to(alpha, shape).reshape(-1)
    flat = layer.reshape(inputs[0], (slopes.size,), "flat")
    return layer.reshape(layer.emit(PRelu(), flat, alpha=slopes), shape, "shape")


def activation(layer: Layer, inputs: list[str]) -> str:
    """An Activation layer; the node bears the layer's name."""
    return activate(layer, inputs[0], part=False)


# --- tables -----------------------------------------------------------------------------------

NAMED: dict[str, Callable[[Layer, str, str], str]] = {
    "relu": relu,
    "softmax": softmax,
    **{name: partial(_made, make=make) for name, make in MAKERS.items()},
}

ALIASES = {
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "ReLU": "relu",
    "Softmax": "softmax",
    "softmax_v2": "softmax",
}
"""Layers that may stand for an activation, and another name of a function."""


def function(name: str) -> Handler:
    """The handler of an activation that is a layer or a function of its own."""
    return lambda layer, inputs: NAMED[name](layer, inputs[0], "")


def leaky_relu(layer: Layer, inputs: list[str]) -> str:
    """LeakyReLU, whose slope is 0.3 where none is stated."""
    return layer.emit(_leaky_relu(layer, 0.3), inputs[0])


ACTIVATIONS: dict[str, Handler] = {
    "Activation": activation,
    "Celu": function("celu"),
    "ELU": function("elu"),
    "Elu": function("elu"),
    "Exp": function("exponential"),
    "Gelu": function("gelu"),
    "HardSigmoid": function("hard_sigmoid"),
    "HardSilu": function("hard_silu"),
    "HardTanh": function("hard_tanh"),
    "LeakyReLU": leaky_relu,
    "LeakyRelu": function("leaky_relu"),
    "PReLU": prelu,
    "ReLU": function("relu"),
    "Relu": function("relu"),
    "Relu6": function("relu6"),
    "Selu": function("selu"),
    "Sigmoid": function("sigmoid"),
    "Silu": function("silu"),
    "Softmax": function("softmax"),
    "Softplus": function("softplus"),
    "Softsign": function("softsign"),
    "SparseSigmoid": function("sparse_sigmoid"),
    "Tanh": function("tanh"),
}
"""Layers, and classes of Keras 3 operations."""

TF_NAMES = {
    "elu": ("nn.elu",),
    "exponential": ("math.exp", "exp"),
    "gelu": ("nn.gelu",),
    "leaky_relu": ("nn.leaky_relu",),
    "relu": ("nn.relu", "keras.backend.relu"),
    "relu6": ("nn.relu6",),
    "selu": ("nn.selu",),
    "sigmoid": ("math.sigmoid", "sigmoid", "nn.sigmoid", "keras.backend.sigmoid"),
    "silu": ("nn.silu", "nn.swish"),
    "softmax": ("nn.softmax", "nn.softmax_v2", "compat.v1.nn.softmax"),
    "softplus": ("math.softplus", "nn.softplus"),
    "softsign": ("nn.softsign", "math.softsign"),
    "tanh": ("math.tanh", "tanh", "nn.tanh", "keras.backend.tanh"),
}

TF_ACTIVATIONS: dict[str, Handler] = {
    **{f"keras.activations.{name}": function(name) for name in NAMED},
    **{full: function(name) for name, names in TF_NAMES.items() for full in names},
}
"""Functions of TFOpLambda, without the ``tf.`` that its names may start with."""
