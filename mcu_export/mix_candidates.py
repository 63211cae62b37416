"""Which mixes of widths are worth measuring: those that are best by what their parts add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mcu_export.graph import Node, node_macs
from mcu_export.mix import Narrow, Noise, Parts
from mcu_export.mix_costs import Costs, Point, pareto_front
from mcu_export.ops import elements

# So many mixes are measured, spread over the predicted front.
SPREAD = 48
# Flash beyond that of q7 for which constants of 16 bits are chosen beside activations of 16 bits.
SHARES = (0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.3, 0.4, 0.5, 0.75)


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

        nodes = self.parts.graph.nodes
        flash = sum(self._constants(node, mix) for node in nodes)
        ram = max(size(node.name) + sum(map(size, dict.fromkeys(node.inputs))) for node in nodes)
        cost = sum(
            self.macs[node.name] * width(node.inputs[0]) * (1 if node.name in mix.layers else 2)
            for node in nodes
        )
        return Costs(flash, ram, cost)

    def _constants(self, node: Node, mix: Narrow) -> int:
        """Bytes of the constants of a layer."""
        formats = self.parts.constants(node, mix)
        return sum(int(np.size(a)) * formats[role].bits // 8 for role, a in node.params.items())


def candidates(parts: Parts, noise: Noise) -> list[Narrow]:
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
    step = max(1, -(-len(best) // SPREAD))
    return list(dict.fromkeys([*uniform, *best[::step]]))


def wide_candidates(parts: Parts, noise: Noise) -> list[Narrow]:
    """Mixes with activations of 16 bits, and constants too where there is room, the noisiest first.

    A limit on flash alone is the usual one, and then nothing but constants has to be narrow.
    """
    estimate = Estimate(parts)
    layers = _order(noise.layers, estimate.constants.__getitem__)
    none: frozenset[str] = frozenset()
    least = estimate.costs(Narrow(frozenset(parts.values), frozenset(layers))).flash
    mixes = []
    for share in SHARES:
        narrow = frozenset(layers)
        for name in reversed(layers):
            fewer = narrow - {name}
            if estimate.costs(Narrow(none, fewer)).flash <= (1 + share) * least:
                narrow = fewer
        mixes.append(Narrow(none, narrow))
    return list(dict.fromkeys(mixes))


def _order(noise: Mapping[str, float], saved: Callable[[str], int]) -> list[str]:
    return sorted(noise, key=lambda name: noise[name] / max(saved(name), 1))


def _prefixes(names: Sequence[str]) -> Iterator[frozenset[str]]:
    return (frozenset(names[:count]) for count in range(len(names) + 1))
