"""``--scheme mixed``: 8 or 16 bits for each activation and for the constants of each layer.

First the noise of every part alone is measured: one activation, or the constants of one layer, in
8 bits and all else in 16. Noise of different parts adds up in power, so the error of any mix can be
predicted. Mixes that are best by prediction are measured; the best of those by measurement are
the Pareto front of error, flash, RAM and cost of multiply-accumulates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from mcu_export.executors import run_tasks
from mcu_export.graph import Graph, node_macs
from mcu_export.mix_costs import CostOf, Costs, Point, pareto_front
from mcu_export.ops import Array, elements
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize
from mcu_export.schemes.arithmetic import ExpSum, Keep
from mcu_export.schemes.widths import MIXED
from mcu_export.search import Choice, Measured, Meter

CHUNK = 8
# How many mixes are measured.
MEASURED = 48

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
            {
                name: (self.narrow if name in mix.layers else self.wide).params[name]
                for name in self.wide.params
            },
            {name: given for name, given in values.items() if name in mix.layers},
            {
                name: used
                for name, used in self.wide.used_bits.items()
                if self.owners[name] not in mix.values
            },
        )


def parts_of(graph: Graph, narrow: Choice, measured: Measured, wide: Choice) -> Parts:
    """What of a network can be 8 or 16 bits wide; ``measured`` is any run of it.

    A softmax has the width of its input: its own is not seen in the error.
    """
    owners = {tensor.name: tensor.name for tensor in graph.inputs}
    for node in graph.nodes:
        follows = isinstance(measured.layers[node.name].layer.arithmetic, Keep | ExpSum)
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
    executor: Executor | None,
    progress: Progress = lambda done, total: None,
) -> Noise:
    """Each part alone in 8 bits."""
    none: frozenset[str] = frozenset()
    mixes = [Narrow(none, none)]
    mixes += [Narrow(frozenset({name}), none) for name in parts.values]
    mixes += [Narrow(none, frozenset({name})) for name in parts.layers]
    floor, *errors = measure_mixes(parts, samples, mixes, executor, progress)
    power = [max(error**2 - floor**2, 0.0) for error in errors]
    count = len(parts.values)
    return Noise(
        floor,
        dict(zip(parts.values, power[:count], strict=True)),
        dict(zip(parts.layers, power[count:], strict=True)),
    )


class Estimate:
    """Costs of mixes without lowering them: what the parts add up to."""

    def __init__(self, parts: Parts) -> None:
        graph, self.parts = parts.graph, parts
        self.shapes = graph.shapes()
        self.constants = {
            node.name: sum(int(np.size(a)) for a in node.params.values()) for node in graph.nodes
        }
        self.macs = {node.name: node_macs(node, self.shapes) for node in graph.nodes}

    def value_weight(self, name: str, by_macs: bool) -> int:
        """What 8 bits save for an activation: products that read it, or its elements."""
        mine = [value for value, owner in self.parts.owners.items() if owner == name]
        if by_macs:
            return sum(self.macs[n.name] for n in self.parts.graph.nodes if n.inputs[0] in mine)
        return max(elements(self.shapes[value]) for value in mine)

    def costs(self, mix: Narrow) -> Costs:
        """Flash, RAM as the largest inputs and output of a layer, products by width."""
        owners = self.parts.owners

        def width(name: str) -> int:
            return 1 if owners[name] in mix.values else 2

        def size(name: str) -> int:
            return elements(self.shapes[name]) * width(name)

        flash = sum(n if name in mix.layers else 2 * n for name, n in self.constants.items())
        nodes = self.parts.graph.nodes
        ram = max(size(node.name) + sum(map(size, dict.fromkeys(node.inputs))) for node in nodes)
        cost = sum(
            self.macs[node.name] * width(node.inputs[0]) * (1 if node.name in mix.layers else 2)
            for node in nodes
        )
        return Costs(flash, ram, cost)


def candidates(parts: Parts, noise: Noise, count: int = MEASURED) -> list[Narrow]:
    """Mixes that are best by prediction, spread over all errors; the uniform ones among them.

    Parts become narrow in the order of noise per what they save, constants and activations apart.
    """
    estimate = Estimate(parts)
    layers = _order(noise.layers, estimate.constants.__getitem__)
    mixes: dict[Narrow, Point] = {}
    for by_macs in (False, True):
        values = _order(noise.values, lambda name: estimate.value_weight(name, by_macs))  # noqa: B023
        for chosen_values in _prefixes(values):
            for chosen_layers in _prefixes(layers):
                mix = Narrow(chosen_values, chosen_layers)
                mixes[mix] = Point(noise.predicted(mix), estimate.costs(mix), (), ())
    front = pareto_front(list(mixes.values()))
    best = [mix for point in front for mix, found in mixes.items() if found is point]
    every = (frozenset(parts.values), frozenset(parts.layers))
    none: frozenset[str] = frozenset()
    uniform = [Narrow(none, none), Narrow(none, every[1]), Narrow(*every)]
    step = max(1, -(-len(best) // count))
    return list(dict.fromkeys([*uniform, *best[::step]]))


def _order(noise: Mapping[str, float], saved: Callable[[str], int]) -> list[str]:
    return sorted(noise, key=lambda name: noise[name] / max(saved(name), 1))


def _prefixes(names: Sequence[str]) -> Iterator[frozenset[str]]:
    return (frozenset(names[:count]) for count in range(len(names) + 1))


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
