"""What formats do to the network's output.

The best format of a tensor alone is not the best for the network: a long tail that saturates may
cost nothing at the output, and a small error may cost much. So a search measures the output's error
against float. No labels are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mcu_export.graph import Graph, Node, node_macs
from mcu_export.logits import before_softmax
from mcu_export.ops import Array, DepthwiseConv2D, Params, elements
from mcu_export.ops.base import Shape
from mcu_export.quantgraph import QuantNode
from mcu_export.quantize import NO_USED_BITS, NO_VALUES, quantize_layer
from mcu_export.runs import NO_RUNS, Runs, in_batches
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import Value


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
class Measured:
    """A choice, what the output of each sample errs by, and every layer as it was run.

    Samples are in the order of the meter's batches; ``batches`` has the layers for each of them.
    """

    choice: Choice
    errors: Array
    batches: tuple[Runs, ...]

    @property
    def error(self) -> float:
        """Mean over samples; infinite where the network did not run to its end."""
        return float(self.errors.mean()) if len(self.errors) else math.inf

    @property
    def layers(self) -> dict[str, QuantNode]:
        """Every layer that was run."""
        return {name: run.layer for name, run in self.batches[0].items()}

    def inputs(self, name: str) -> list[Array]:
        """What a layer reads first, for each batch."""
        return [batch[name].inputs[0] for batch in self.batches]

    def outputs(self, name: str) -> list[Array]:
        """What a layer computes, for each batch."""
        return [batch[name].output for batch in self.batches]


# Relative distances below are none.
SMALLEST = 1e-5
# What errs more by so many standard errors is given up, after any batch.
CERTAIN = 1.0


class Meter:
    """Measures choices on samples; a layer runs again only if it or its input changed.

    The error is the mean over samples of the distance (Euclidean) between the outputs in float and
    in integers, relative to the mean length of the float output. The distance itself, not its
    square, because few samples far off must not outweigh all others. With ``typical`` it is the
    mean of the distance's logarithm, and they hardly count. A softmax at the end is left out: it
    hides errors of confident answers.

    ``work`` counts what was run: operations over all samples, by :func:`layer_work`.
    """

    def __init__(
        self, graph: Graph, samples: Mapping[str, Array], *, typical: bool = False
    ) -> None:
        self.graph, self.typical = graph, typical
        self.samples = {name: np.asarray(a, np.float32) for name, a in samples.items()}
        self.batches = in_batches(graph, self.samples)
        outputs = dict.fromkeys(before_softmax(graph, name) for name in graph.outputs)
        self._lengths = {name: _mean_length(np.concatenate(self.real(name))) for name in outputs}
        self.measured = 0
        self.work = 0
        shapes = graph.shapes()
        self._work = {node.name: layer_work(node, shapes) for node in graph.nodes}
        # By all that a layer is made of but constants; those that it was made with stand beside it.
        self._layers: dict[object, list[tuple[QuantNode, Params | None]]] = {}

    def real(self, name: str) -> list[Array]:
        """A value of the float network, for each batch."""
        return [batch.real[name] for batch in self.batches]

    def measure(self, choice: Choice, before: Measured | None = None, until: str = "") -> Measured:
        """Run ``choice``; layers that are the same in ``before`` are taken from there.

        ``until`` names the last layer to run, where the output's error is not needed.
        """
        self.measured += 1
        layers, formats = self._made(choice, until)
        batches = [self._run(index, layers, formats, before) for index in range(len(self.batches))]
        errors = [] if until else [self._errors(*one, formats) for one in enumerate(batches)]
        return Measured(choice, np.concatenate([*errors, np.empty(0)]), tuple(batches))

    def better(self, choice: Choice, best: Measured) -> Measured | None:
        """``choice`` measured; None if it is no better than ``best``.

        Most changes of a format show on the first batch that they are not, and no other is run.
        """
        self.measured += 1
        layers, formats = self._made(choice)
        batches, errors = [], np.empty(0)
        for index in range(len(self.batches)):
            batches.append(self._run(index, layers, formats, best))
            errors = np.concatenate([errors, self._errors(index, batches[-1], formats)])
            more = errors - best.errors[: len(errors)]
            if more.mean() > CERTAIN * more.std() / math.sqrt(len(more)):
                return None
        tried = Measured(choice, errors, tuple(batches))
        return tried if tried.error < best.error else None

    def round_work(self, changes: int) -> float:
        """About what a round of descent costs: two runs per change, each of half the network."""
        count = sum(batch.count for batch in self.batches)
        return float(changes * count * sum(self._work.values()))

    def _run(
        self,
        index: int,
        layers: Sequence[QuantNode],
        formats: Mapping[str, PowerOfTwo],
        before: Measured | None,
    ) -> Runs:
        """The layers on one batch."""
        batch, old = self.batches[index], before.batches[index] if before else NO_RUNS
        runs = batch.run(layers, formats, old)
        new = sum(self._work[name] for name, run in runs.items() if run is not old.get(name))
        self.work += batch.count * new
        return runs

    def _errors(self, index: int, runs: Runs, formats: Mapping[str, PowerOfTwo]) -> Array:
        """What the output errs by, of each sample of a batch."""
        batch = self.batches[index]
        distances = np.zeros(batch.count)
        for name, length in self._lengths.items():
            fmt = formats[name]
            output = runs[name].output if name in runs else batch.input(name, fmt)
            distances += _distances(batch.real[name], fmt.dequantize(output)) / length
        return np.log(distances + SMALLEST) if self.typical else distances

    def _made(
        self, choice: Choice, until: str = ""
    ) -> tuple[list[QuantNode], dict[str, PowerOfTwo]]:
        """The layers in integers, ``until`` one if it is named, and the formats of all values."""
        known: dict[str, Value] = {}
        for tensor in self.graph.inputs:
            fmt = choice.activations[tensor.name]
            known[tensor.name] = Value(fmt, fmt.lowest, fmt.highest)
        layers = []
        for node in self.graph.nodes:
            layer = self._layer(node, known, choice)
            layers.append(layer)
            known[node.name] = Value(layer.format, layer.arithmetic.low, layer.arithmetic.high)
            if node.name == until:
                break
        return layers, {name: value.format for name, value in known.items()}

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


def _distances(real: Array, other: Array) -> Array:
    """Distance of each sample's outputs: (samples), float64."""
    wide = real.reshape(len(real), -1).astype(np.float64)
    distances: Array = np.linalg.norm(wide - other.reshape(wide.shape), axis=1)
    return distances


def _mean_length(real: Array) -> float:
    """Mean length of the samples' outputs; 1 where all are zero."""
    return float(_distances(real, np.zeros_like(real)).mean()) or 1.0


def relative_error(real: Array, other: Array) -> float:
    """Mean distance of the samples' outputs, relative to the mean length of ``real``."""
    return float(_distances(real, other).mean()) / _mean_length(real)


# A layer costs as many multiply-accumulates as numpy does in the same time, depthwise ones and
# whatever goes over a tensor counted by their own speed.
DEPTHWISE_WORK, ELEMENT_WORK = 8, 32


def layer_work(node: Node, shapes: Mapping[str, Shape]) -> int:
    """What running a layer on one sample costs, in multiply-accumulates of a matrix product."""
    slow = DEPTHWISE_WORK if isinstance(node.op, DepthwiseConv2D) else 1
    return slow * node_macs(node, shapes) + ELEMENT_WORK * elements(node.shape)
