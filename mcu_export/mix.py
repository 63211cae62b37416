"""``--scheme mixed``: 8 or 16 bits for each activation and for the constants of each layer.

First the noise of every part alone is measured: one activation, or the constants of one layer, in
8 bits and all else in 16. Noise of different parts adds up in power, so the error of any mix can be
predicted. Mixes that are best by prediction are measured; the best of those by measurement are
the Pareto front of error, flash, RAM and cost of multiply-accumulates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from mcu_export.executors import run_tasks
from mcu_export.graph import Graph, Node
from mcu_export.mix_costs import CostOf, Point
from mcu_export.ops import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize
from mcu_export.schemes.arithmetic import ExpSum, Keep
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.widths import BIAS, MIXED, bias_bits
from mcu_export.search import Choice, Measured, Meter

CHUNK = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Narrow:
    """What has 8 bits in a mix: activations, and layers by their constants."""

    values: frozenset[str]
    layers: frozenset[str]


@dataclass(frozen=True, eq=False)
class Parts:
    """A network in 8 and in 16 bits, and what has a width of its own.

    Attributes:
        graph: the float network.
        narrow, wide: all in 8 and all in 16 bits.
        owners: for each value the one whose width it has; those that only move values follow.
        layers: nodes with constants.
    """

    graph: Graph
    narrow: Choice
    wide: Choice
    owners: Mapping[str, str]
    layers: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Values with a width of their own."""
        return tuple(dict.fromkeys(self.owners.values()))

    def choice(self, mix: Narrow) -> Choice:
        """The formats of a mix."""
        values = self.narrow.values
        return Choice(
            {
                name: (self.narrow if owner in mix.values else self.wide).activations[name]
                for name, owner in self.owners.items()
            },
            {node.name: self.constants(node, mix) for node in self.graph.nodes},
            {name: given for name, given in values.items() if name in mix.layers},
            {
                name: used
                for name, used in self.wide.used_bits.items()
                if self.owners[name] not in mix.values
            },
        )

    def constants(self, node: Node, mix: Narrow) -> Mapping[str, PowerOfTwo]:
        """The formats of the constants of a layer in a mix."""
        if node.name not in mix.layers:
            return self.wide.params[node.name]
        inputs = 8 if self.owners[node.inputs[0]] in mix.values else 16
        return narrow_constants(node, inputs, self.narrow, self.wide)


def narrow_constants(
    node: Node, inputs: int, narrow: Choice, wide: Choice
) -> Mapping[str, PowerOfTwo]:
    """The formats of 8-bit constants of a layer that reads inputs of so many bits."""
    formats = narrow.params[node.name]
    is_wide = BIAS in formats and bias_bits(node, 8, inputs) > 8
    return {**formats, BIAS: wide.params[node.name][BIAS]} if is_wide else formats


def parts_of(graph: Graph, narrow: Choice, measured: Measured, wide: Choice) -> Parts:
    """What of a network can be 8 or 16 bits wide; ``measured`` is any run of it.

    A softmax has the width of its input: its own is not seen in the error.
    """
    owners = {tensor.name: tensor.name for tensor in graph.inputs}
    for node in graph.nodes:
        follows = isinstance(measured.layers[node.name].arithmetic, Keep | ExpSum)
        owners[node.name] = owners[node.inputs[0]] if follows else node.name
    layers = tuple(node.name for node in graph.nodes if node.params)
    return Parts(graph, narrow, wide, owners, layers)


@dataclass(frozen=True, eq=False)
class _Task:
    """Choices to measure that differ little from ``base``; picklable."""

    graph: Graph
    samples: Mapping[str, Array]
    base: Choice
    choices: Sequence[Choice]


def _errors(task: _Task) -> list[float]:
    meter = Meter(task.graph, task.samples)
    base = meter.measure(task.base)
    return [meter.measure(choice, base).error for choice in task.choices]


def measure_mixes(
    parts: Parts,
    samples: Mapping[str, Array],
    mixes: Sequence[Narrow],
    executor: Executor | None,
    progress: Progress = lambda done, total: None,
) -> list[float]:
    """Output error of each mix, measured side by side."""
    base = parts.choice(Narrow(frozenset(), frozenset()))
    size = CHUNK if executor else len(mixes)
    choices = [parts.choice(mix) for mix in mixes]
    tasks = [
        _Task(parts.graph, samples, base, choices[start : start + size])
        for start in range(0, len(mixes), size)
    ]
    found = run_tasks(executor, _errors, tasks, lambda done: progress(done, len(tasks)))
    return [error for errors in found for error in errors]


@dataclass(frozen=True, eq=False)
class Noise:
    """Power that each part adds to the output's error in 8 bits, and what 16 bits have already."""

    floor: float
    values: Mapping[str, float]
    layers: Mapping[str, float]

    def predicted(self, mix: Narrow) -> float:
        """Error of a mix."""
        power = sum(self.values[name] for name in mix.values)
        power += sum(self.layers[name] for name in mix.layers)
        return math.sqrt(self.floor**2 + power)


def noise_of(
    parts: Parts,
    samples: Mapping[str, Array],
    values: Sequence[str],
    executor: Executor | None,
    progress: Progress = lambda done, total: None,
) -> Noise:
    """Each of ``values``, and the constants of each layer, alone in 8 bits."""
    none: frozenset[str] = frozenset()
    mixes = [Narrow(none, none)]
    mixes += [Narrow(frozenset({name}), none) for name in values]
    mixes += [Narrow(none, frozenset({name})) for name in parts.layers]
    floor, *errors = measure_mixes(parts, samples, mixes, executor, progress)
    power = [max(error**2 - floor**2, 0.0) for error in errors]
    count = len(values)
    return Noise(
        floor,
        dict(zip(values, power[:count], strict=True)),
        dict(zip(parts.layers, power[count:], strict=True)),
    )


def quantize_choice(graph: Graph, choice: Choice) -> QuantGraph:
    """The integer network of a mix."""
    return quantize(
        graph, MIXED, choice.activations, choice.params, choice.values, choice.used_bits
    )


def measured_points(
    parts: Parts,
    samples: Mapping[str, Array],
    mixes: Sequence[Narrow],
    cost_of: CostOf,
    executor: Executor | None,
    progress: Progress = lambda done, total: None,
) -> dict[Narrow, Point]:
    """Mixes with their measured error and what they really cost."""
    errors = measure_mixes(parts, samples, mixes, executor, progress)
    points = {}
    for mix, error in zip(mixes, errors, strict=True):
        costs = cost_of(quantize_choice(parts.graph, parts.choice(mix)))
        wide_values = tuple(name for name in parts.values if name not in mix.values)
        wide_layers = tuple(name for name in parts.layers if name not in mix.layers)
        points[mix] = Point(error, costs, wide_values, wide_layers)
    return points
