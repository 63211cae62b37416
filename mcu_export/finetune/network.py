"""A network whose values are the integers of the export and whose gradients are those of float.

Straight-through estimation (Bengio et al. 2013): forward, every layer gives exactly what
:mod:`mcu_export.reference` computes; backward, it is the float layer on the same real values, and a
value at the end of its layer's range has no gradient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcu_export.finetune.base import Call, Tensor, from_keras, to_keras
from mcu_export.finetune.layers import build_layers
from mcu_export.finetune.tensorflow import keras, tensorflow
from mcu_export.graph import Graph, Node
from mcu_export.ops.base import Array, Params, Shape
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import run_layer


@dataclass(frozen=True, eq=False)
class Trained:
    """A constant under training: where it belongs, and its Keras variable."""

    node: Node
    shapes: Sequence[Shape]
    role: str
    variable: Any

    def assign(self, values: Array) -> None:
        """Put a constant of the graph into the variable."""
        self.variable.assign(to_keras(self.node, self.shapes, self.role, values))

    def as_graph(self, values: Any) -> Array:
        """A weight of Keras, or its gradient, as a float32 constant of the graph."""
        return from_keras(self.node, self.role, np.asarray(values, np.float32))


class TrainableNetwork:
    """The layers of a graph in Keras, with names that Keras allows.

    Raises:
        UnsupportedLayerError: a layer that Keras does not have.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.calls: dict[str, Sequence[Call]] = {}
        self.trained: list[Trained] = []
        self.names = keras_names([*(t.name for t in graph.inputs), *(n.name for n in graph.nodes)])
        shapes = graph.shapes()
        for node in graph.nodes:
            sources = [shapes[name] for name in node.inputs]
            calls = build_layers(node, sources, self.names[node.name])
            self.calls[node.name] = calls
            weights = [v for call in calls for v in getattr(call, "trainable_variables", ())]
            self.trained += [
                Trained(node, sources, role, variable)
                for role, variable in zip(node.params, weights, strict=True)
            ]

    def layer(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """A layer in float; a symbolic tensor gives a symbolic tensor."""
        value: Tensor = inputs[0] if len(inputs) == 1 else list(inputs)
        for call in self.calls[node.name]:
            value = call(value)
        return value

    def model(self) -> Any:
        """The float network as a Keras model."""
        values = {
            t.name: keras().Input(t.shape, name=self.names[t.name]) for t in self.graph.inputs
        }
        inputs = list(values.values())
        for node in self.graph.nodes:
            values[node.name] = self.layer(node, [values[name] for name in node.inputs])
        return keras().Model(inputs, [values[name] for name in self.graph.outputs])

    def assign(self, quant: QuantGraph) -> None:
        """Give every Keras weight the real value of its integer."""
        layers = {layer.name: layer for layer in quant.nodes}
        for one in self.trained:
            layer = layers[one.node.name]
            one.assign(layer.param_formats[one.role].dequantize(layer.params[one.role]))

    def forward(
        self, quant: QuantGraph, inputs: Mapping[str, Array], last: str
    ) -> tuple[Tensor, Array]:
        """Value ``last`` with gradients, and its integers, for integer ``inputs``.

        Args:
            quant: this network in integers; see :meth:`assign`.
            inputs: integers for each graph input, (samples, *shape).
            last: nothing behind it is computed.
        """
        integers = {name: np.asarray(array, np.int64) for name, array in inputs.items()}
        values = {
            name: _constant(fmt.dequantize(integers[name]))
            for name, fmt in quant.input_formats.items()
        }
        for layer in quant.nodes:
            name, sources = layer.name, layer.node.inputs
            integers[name] = run_layer(layer, [integers[source] for source in sources])
            low, high = layer.format.dequantize([layer.arithmetic.low, layer.arithmetic.high])
            real = self.layer(layer.node, [values[source] for source in sources])
            real = tensorflow().clip_by_value(real, np.float32(low), np.float32(high))
            stored = _constant(layer.format.dequantize(integers[name]))
            values[name] = real + tensorflow().stop_gradient(stored - real)
            if name == last:
                break
        return values[last], integers[last]


def _constant(values: Array) -> Tensor:
    return tensorflow().constant(np.asarray(values, np.float32))


def keras_names(names: Sequence[str]) -> dict[str, str]:
    """A name for each value that Keras accepts, and no other value has."""
    made: dict[str, str] = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "layer"
        taken, number, chosen = {text.lower() for text in made.values()}, 1, base
        while chosen.lower() in taken:
            number += 1
            chosen = f"{base}_{number}"
        made[name] = chosen
    return made


def constants(quant: QuantGraph) -> dict[str, Params]:
    """The float constants of every layer, moved to the nearest real value that rounds as chosen.

    Rounding may have been learned: a weight then lies in another cell of the grid than its float
    value. Training starts from the edge of that cell.
    """
    start: dict[str, Params] = {}
    for layer in quant.nodes:
        found = {}
        for role, real in layer.node.params.items():
            fmt, integers = layer.param_formats[role], layer.params[role]
            step = 2.0**-fmt.frac_bits
            center = fmt.dequantize(integers)
            # Just inside the cell [center - step / 2, center + step / 2).
            inside = np.clip(real, center - 0.49 * step, center + 0.49 * step)
            found[role] = np.asarray(inside, np.float32)
        start[layer.name] = found
    return start
