"""What formats do to the network's output.

The best format of a tensor alone is not the best for the network: a long tail that saturates may
cost nothing at the output, and a small error may cost much. So a search measures the output's error
against float. No labels are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mcu_export.graph import Graph, Node, node_macs, run_float
from mcu_export.logits import before_softmax
from mcu_export.ops import Array, DepthwiseConv2D, Params, elements
from mcu_export.ops.base import Shape
from mcu_export.quantgraph import QuantNode
from mcu_export.quantize import NO_USED_BITS, NO_VALUES, quantize_layer
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import Value
from mcu_export.simulate import quantize_float32, simulate_layer


@dataclass(frozen=True, eq=False)
class Choice:
    """All that :func:`mcu_export.quantize.quantize` needs besides the network."""

    activations: Mapping[str, PowerOfTwo]
    params: Mapping[str, Mapping[str, PowerOfTwo]]
    values: Mapping[str, Params] = field(default_factory=lambda: NO_VALUES)
    used_bits: Mapping[str, int] = field(default_factory=lambda: NO_USED_BITS)

    def with_values(self, name: str, values: Params) -> Choice:
        """The same with other constants for one layer."""
        return replace(self, values={**self.values, name: values})

    def with_activation(self, name: str, fmt: PowerOfTwo) -> Choice:
        """The same with another format for one value."""
        return replace(self, activations={**self.activations, name: fmt})


@dataclass(frozen=True, eq=False)
class Ran:
    """A layer as it was run: its integers, its inputs and its output (integers in float32)."""

    layer: QuantNode
    inputs: list[Array]
    output: Array


@dataclass(frozen=True, eq=False)
class Measured:
    """A choice, what the output of each sample errs by, and every layer as it was run.

    ``ran`` counts the layers that were not the same as before.
    """

    choice: Choice
    errors: Array
    layers: Mapping[str, Ran]
    ran: int

    @property
    def error(self) -> float:
        """Mean over samples; infinite where the network did not run to its end."""
        return float(self.errors.mean()) if len(self.errors) else math.inf


# Relative distances below are none.
SMALLEST = 1e-5


class Meter:
    """Measures choices on samples; a layer runs again only if it or its input changed.

    The error is the mean over samples of the distance (Euclidean) between the outputs in float and
    in integers, relative to the mean length of the float output. The distance itself, not its
    square, because few samples far off must not outweigh all others. With ``typical`` it is the
    mean of the distance's logarithm, and they hardly count. A softmax at the end is left out: it
    hides errors of confident answers.

    ``work`` counts what was run: operations over all samples, by :func:`layer_work`. ``real`` are
    the values of the float network.
    """

    def __init__(
        self,
        graph: Graph,
        samples: Mapping[str, Array],
        *,
        typical: bool = False,
        real: Mapping[str, Array] | None = None,
    ) -> None:
        self.graph, self.typical = graph, typical
        self.samples = {name: np.asarray(a, np.float32) for name, a in samples.items()}
        self.real = run_float(graph, self.samples) if real is None else real
        self.outputs = tuple(dict.fromkeys(before_softmax(graph, o) for o in graph.outputs))
        self.measured = 0
        self.work = 0
        self.count, shapes = len(next(iter(self.samples.values()))), graph.shapes()
        self._work = {node.name: layer_work(node, shapes) * self.count for node in graph.nodes}
        # By all that a layer is made of but constants; those that it was made with stand beside it.
        self._layers: dict[object, list[tuple[QuantNode, Params | None]]] = {}
        self._inputs: dict[tuple[str, PowerOfTwo], Array] = {}

    def every(self, step: int) -> Meter:
        """One that measures on every ``step``-th sample."""
        samples, real = (
            {name: np.ascontiguousarray(array[::step]) for name, array in values.items()}
            for values in (self.samples, self.real)
        )
        return Meter(self.graph, samples, typical=self.typical, real=real)

    def measure(self, choice: Choice, before: Measured | None = None, until: str = "") -> Measured:
        """Run ``choice``; layers that are the same in ``before`` are taken from there.

        ``until`` names the last layer to run, where the output's error is not needed.
        """
        self.measured += 1
        known: dict[str, Value] = {}
        values: dict[str, Array] = {}
        layers: dict[str, Ran] = {}
        ran = 0
        for tensor in self.graph.inputs:
            fmt = choice.activations[tensor.name]
            known[tensor.name] = Value(fmt, fmt.lowest, fmt.highest)
            values[tensor.name] = self._input(tensor.name, fmt)
        for node in self.graph.nodes:
            layer = self._layer(node, known, choice)
            inputs = [values[name] for name in node.inputs]
            done = _same(before.layers.get(node.name) if before else None, layer, inputs)
            if done is None:
                formats = [known[name].format for name in node.inputs]
                done = Ran(layer, inputs, simulate_layer(layer, inputs, formats))
                self.work += self._work[node.name]
                ran += 1
            layers[node.name], values[node.name] = done, done.output
            known[node.name] = Value(layer.format, layer.arithmetic.low, layer.arithmetic.high)
            if node.name == until:
                return Measured(choice, np.empty(0), layers, ran)
        distances = sum(
            relative_distances(self.real[name], known[name].format.dequantize(values[name]))
            for name in self.outputs
        )
        errors = np.log(distances + SMALLEST) if self.typical else np.asarray(distances)
        return Measured(choice, errors, layers, ran)

    def round_work(self, changes: int) -> float:
        """About what a round of descent costs: two runs per change, each of half the network."""
        return float(changes * sum(self._work.values()))

    def _input(self, name: str, fmt: PowerOfTwo) -> Array:
        key = (name, fmt)
        if key not in self._inputs:
            self._inputs[key] = quantize_float32(self.samples[name], fmt)
        return self._inputs[key]

    def _layer(self, node: Node, known: Mapping[str, Value], choice: Choice) -> QuantNode:
        """The layer in integers; the same object for the same integers, formats and shifts."""
        wanted, formats = choice.activations[node.name], choice.params[node.name]
        given, used = choice.values.get(node.name), choice.used_bits.get(node.name)
        inputs = [known[name] for name in node.inputs]
        key = (node.name, tuple(inputs), wanted, tuple(formats.items()), used)
        made = self._layers.setdefault(key, [])
        for layer, source in made:
            if source is given:
                return layer
        layer = quantize_layer(node, inputs, wanted, formats, given, used)
        layer = next((one for one, _ in made if _equal(one, layer)), layer)
        made.append((layer, given))
        return layer


def _equal(one: QuantNode, other: QuantNode) -> bool:
    """Whether layers made of the same inputs and formats, of other constants, are the same."""
    formats = one.format == other.format and one.param_formats == other.param_formats
    same = formats and one.arithmetic == other.arithmetic
    return same and all(np.array_equal(one.params[role], other.params[role]) for role in one.params)


def relative_distances(real: Array, other: Array) -> Array:
    """Distance of each sample's outputs, relative to the mean length of ``real``: (samples)."""
    wide = real.reshape(len(real), -1).astype(np.float64)
    length = float(np.linalg.norm(wide, axis=1).mean())
    apart: Array = np.linalg.norm(wide - other.reshape(wide.shape), axis=1)
    return apart / (length or 1.0)


def relative_error(real: Array, other: Array) -> float:
    """Mean of :func:`relative_distances`."""
    return float(relative_distances(real, other).mean())


# A layer costs as many multiply-accumulates as numpy does in the same time, depthwise ones and
# whatever goes over a tensor counted by their own speed.
DEPTHWISE_WORK, ELEMENT_WORK = 8, 32


def layer_work(node: Node, shapes: Mapping[str, Shape]) -> int:
    """What running a layer on one sample costs, in multiply-accumulates of a matrix product."""
    slow = DEPTHWISE_WORK if isinstance(node.op, DepthwiseConv2D) else 1
    return slow * node_macs(node, shapes) + ELEMENT_WORK * elements(node.shape)


def _same(before: Ran | None, layer: QuantNode, inputs: list[Array]) -> Ran | None:
    if before is None or before.layer is not layer:
        return None
    same = all(a is b for a, b in zip(before.inputs, inputs, strict=True))
    return before if same else None
