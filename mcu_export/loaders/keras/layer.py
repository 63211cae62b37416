"""One use of one Keras layer while the graph is built: its settings, weights and nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.base import MAX_NODES, GraphBuilder
from mcu_export.loaders.keras.config import LayerSpec, Use
from mcu_export.ops import Array, Op, Reshape, Shape

Pair = tuple[int, int]

MAX_VALUE_ELEMENTS = 4 * 1024 * 1024  # of one tensor, and of any size in a configuration


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
        keras_major: the version of Keras that wrote the file: 1, 2 or 3.
    """

    spec: LayerSpec
    use: Use
    name: str
    builder: GraphBuilder
    read: Callable[[str], Array]
    bn_epsilon: float | None
    keras_major: int

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

    def argument(self, *keys: str) -> Any:
        """An argument that the configuration or a keyword of the call holds; else None."""
        for key in keys:
            for place in (self.spec.config, self.use.options):
                if place.get(key) is not None:
                    return place[key]
        return None

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

    def require_plausible(self, shape: Shape) -> None:
        """Raise for a tensor that is too large, before anything of its size is made."""
        if math.prod(shape) > MAX_VALUE_ELEMENTS:
            raise self.damaged(f"a tensor of the shape {shape} is not plausible")

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
        self.require_plausible(self.shape(made))
        return made

    def reshape(self, value: str, shape: Shape, part: str = "") -> str:
        """The same elements under another shape; nothing where it is the same."""
        return value if shape == self.shape(value) else self.emit(Reshape(shape), value, part=part)


Handler: TypeAlias = Callable[[Layer, list[str]], str | list[str]]
"""Adds the nodes of one use of a layer; returns its value, or its values."""


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_VALUE_ELEMENTS
    )
