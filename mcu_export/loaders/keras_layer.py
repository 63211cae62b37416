"""One use of one Keras layer while the graph is built: its settings, weights and nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.base import MAX_NODES, GraphBuilder
from mcu_export.loaders.keras_config import LayerSpec, Use
from mcu_export.ops import RELU, RELU6, Array, Clamp, Limits, Op, Reshape, Shape, Softmax

Pair = tuple[int, int]

MAX_VALUE_ELEMENTS = 4 * 1024 * 1024  # of one tensor, and of any size in a configuration

LIMITS = {
    "relu": RELU,
    "relu6": RELU6,
    "hard_tanh": Limits(-1.0, 1.0),
}
"""Activations that only limit their input."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What a handler gets to work with.

    Attributes:
        spec: class and configuration.
        use: this call of the layer.
        name: its name with the nested models around it, ``outer/inner``.
        builder: collects the nodes.
        read: the stored array of a weight.
        bn_epsilon: replaces the epsilon of every batch norm.
    """

    spec: LayerSpec
    use: Use
    name: str
    builder: GraphBuilder
    read: Callable[[str], Array]
    bn_epsilon: float | None

    @property
    def where(self) -> str:
        """File, layer and class, for messages."""
        return self.builder.where(self.name, self.spec.class_name)

    def unsupported(self, what: str, fix: str = "") -> UnsupportedLayerError:
        """An error about what the layer wants."""
        return UnsupportedLayerError(what, where=self.where, fix=fix)

    def damaged(self, what: str) -> ModelFileError:
        """An error about what the file says."""
        return ModelFileError(what, where=self.where, fix="the file may be damaged; save it again")

    # --- settings ---------------------------------------------------------------------------

    def setting(self, key: str, default: Any = None) -> Any:
        """A value of the configuration; ``default`` where it is absent or null."""
        value = self.spec.config.get(key)
        if isinstance(value, dict) and "value" in value:
            value = value["value"]  # Keras 2 wrote numpy scalars like that
        return default if value is None else value

    def flag(self, key: str, default: bool) -> bool:
        """A setting that is on or off."""
        return bool(self.setting(key, default))

    def text(self, key: str, default: str) -> str:
        """A setting that is a word."""
        return str(self.setting(key, default))

    def number(self, key: str, default: float) -> float:
        """A setting that is a finite number."""
        return self.as_number(self.setting(key, default), key)

    def as_number(self, value: Any, key: str) -> float:
        """``value`` as a finite number."""
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
        raise self.damaged(f"{key} is no number: {str(value)[:60]}")

    def sizes(self, key: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """``count`` positive integers; a single one in the file stands for all."""
        value = self.setting(key, default)
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count or not all(_is_size(v) and v >= 1 for v in values):
            raise self.damaged(f"{key} is {str(value)[:60]}, not {count} positive integers")
        return tuple(int(v) for v in values)

    def integers(self, value: Any, key: str, lowest: int) -> list[int]:
        """A list of integers, or a single one, none below ``lowest``."""
        values = value if isinstance(value, list) else [value]
        if not all(_is_size(v) and v >= lowest for v in values):
            raise self.damaged(f"{key} is {str(value)[:60]}")
        return [int(v) for v in values]

    def require_channels_last(self) -> None:
        """Raise for ``channels_first``: the whole network would have to be transposed."""
        if self.text("data_format", "channels_last") != "channels_last":
            raise self.unsupported(
                "data_format='channels_first' is not supported",
                "build the network with data_format='channels_last' and copy the weights",
            )

    # --- values and weights -----------------------------------------------------------------

    def shape(self, value: str) -> Shape:
        """Shape of a value, without the batch."""
        return self.builder.shapes[value]

    def weight(self, role: str, shape: Shape) -> Array:
        """A weight, once its shape is seen to be what the configuration says."""
        array = self.read(role)
        # Keras 1 kept an axis of size 1 in the kernels of its convolutions over sequences.
        if [s for s in array.shape if s != 1] != [s for s in shape if s != 1]:
            raise self.damaged(f"the {role} has the shape {array.shape}, expected {shape}")
        return array.reshape(shape)

    def emit(self, op: Op, *inputs: str, part: str = "", **params: Array) -> str:
        """Add a node, called like the layer, or ``layer/part``; returns its value."""
        if len(self.builder.nodes) >= MAX_NODES:
            raise self.damaged(f"more than {MAX_NODES} nodes")
        name = f"{self.name}/{part}" if part else self.name
        try:
            made = self.builder.add(name, op, list(inputs), params)
        except (ModelFileError, UnsupportedLayerError) as error:
            error.where = self.where
            raise
        if math.prod(self.shape(made)) > MAX_VALUE_ELEMENTS:
            raise self.damaged(f"a tensor of the shape {self.shape(made)} is not plausible")
        return made

    def reshape(self, value: str, shape: Shape, part: str = "") -> str:
        """The same elements under another shape; nothing where it is the same."""
        return value if shape == self.shape(value) else self.emit(Reshape(shape), value, part=part)

    def activate(self, value: str, part: bool = True) -> str:
        """Apply the ``activation`` of the configuration: a name, or a layer that is one."""
        wanted = self.spec.config.get("activation")
        if isinstance(wanted, dict):
            settings = wanted.get("config")
            if wanted.get("class_name") in ("ReLU", "Softmax") and isinstance(settings, dict):
                spec = replace(self.spec, config=settings)
                inner = replace(self, spec=spec)
                act = relu if wanted["class_name"] == "ReLU" else softmax
                return act(inner, [value], str(wanted["class_name"]).lower() if part else "")
            wanted = settings if isinstance(settings, str) else wanted.get("class_name")
        name = "linear" if wanted is None else str(wanted)
        if name == "linear":
            return value
        if name == "softmax":
            return self.emit(Softmax(), value, part=name if part else "")
        if name not in LIMITS:
            raise self.unsupported(
                f"the activation {name[:60]!r} is not supported",
                f"use one of: linear, softmax, {', '.join(sorted(LIMITS))}",
            )
        return self.emit(Clamp(LIMITS[name]), value, part=name if part else "")


Handler: TypeAlias = Callable[[Layer, list[str]], str]


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_VALUE_ELEMENTS
    )


def relu(layer: Layer, inputs: list[str], part: str = "") -> str:
    """ReLU with or without a largest value."""
    for key in ("negative_slope", "threshold"):
        if layer.number(key, 0.0) != 0:
            raise layer.unsupported(
                f"ReLU with {key}={layer.number(key, 0.0):g} is not supported",
                "only max_value is; train with a plain ReLU",
            )
    high = layer.number("max_value", 0.0) if layer.setting("max_value") is not None else math.inf
    if high < 0:
        raise layer.damaged(f"max_value is {high:g}")
    return layer.emit(Clamp(Limits(0.0, high)), inputs[0], part=part)


def softmax(layer: Layer, inputs: list[str], part: str = "") -> str:
    """Softmax over the last axis."""
    axis = layer.setting("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, len(layer.shape(inputs[0]))):
        raise layer.unsupported(f"softmax over the axis {axis}; only the last one is supported")
    return layer.emit(Softmax(), inputs[0], part=part)
