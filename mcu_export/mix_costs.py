"""What a mix of widths costs, and which mixes are worth a look: the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from mcu_export.errors import BudgetError
from mcu_export.graph import node_macs
from mcu_export.quantgraph import QuantGraph

# Without any limit, a mix may have this much more constants than the network in q7.
DEFAULT_FLASH = 1.25


@dataclass(frozen=True)
class Costs:
    """What a network needs.

    Attributes:
        flash: bytes of constants.
        ram: bytes of the arena.
        macs_cost: multiply-accumulates, each counted once for 8 x 8 bits, twice for 16 x 8, four
            times for 16 x 16: the product of the widths, in units of 64.
    """

    flash: int
    ram: int
    macs_cost: int

    def within(self, limits: Limits) -> bool:
        """Whether no limit is exceeded."""
        return not self.exceeded(limits)

    def exceeded(self, limits: Limits) -> list[str]:
        """Names of the fields that are over their limit."""
        return [
            f.name
            for f in fields(self)
            if (limit := getattr(limits, f.name)) is not None and getattr(self, f.name) > limit
        ]


@dataclass(frozen=True)
class Limits:
    """Most that a mix may cost, None for no limit, and the accuracy that it may lose, in points."""

    flash: int | None = None
    ram: int | None = None
    macs_cost: int | None = None
    drop: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is any limit."""
        return self != Limits()


CostOf = Callable[[QuantGraph], Costs]


@dataclass(frozen=True)
class Point:
    """One mix as it is reported.

    Attributes:
        error: of the output, see :class:`mcu_export.search.Meter`.
        costs: what it needs.
        wide_values, wide_layers: activations, and layers whose constants, have 16 bits.
    """

    error: float
    costs: Costs
    wide_values: tuple[str, ...]
    wide_layers: tuple[str, ...]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other is as good as in everything, the one with the least error first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.error, p.costs.flash, p.costs.ram)):
        if not any(_as_good(other, point) for other in front):
            front.append(point)
    return front


def _as_good(one: Point, other: Point) -> bool:
    return one.error <= other.error and all(
        getattr(one.costs, f.name) <= getattr(other.costs, f.name) for f in fields(Costs)
    )


def within_limits(front: Sequence[Point], limits: Limits) -> list[Point]:
    """The points that may be exported; the limit on accuracy is not looked at.

    Raises:
        BudgetError: there is none; names the least that is possible.
    """
    possible = [point for point in front if point.costs.within(limits)]
    if possible:
        return possible
    nearest = min(front, key=lambda point: len(point.costs.exceeded(limits)))
    over = nearest.costs.exceeded(limits)
    option = {"flash": "--max-flash", "ram": "--max-ram", "macs_cost": "--max-macs-cost"}
    least = ", ".join(
        f"{option[name]} {min(getattr(p.costs, name) for p in front)}" for name in option
    )
    raise BudgetError(
        "no mix of 8 and 16 bits is within the limits",
        where=", ".join(f"{option[name]} {getattr(limits, name)}" for name in over),
        fix=f"allow more; the least of each alone is {least}",
    )


def macs_cost(quant: QuantGraph) -> int:
    """Multiply-accumulates weighted by their widths; see :class:`Costs`."""
    formats, shapes = quant.formats(), quant.graph.shapes()
    total = 0
    for layer in quant.nodes:
        weights = layer.param_formats.get("weights")
        if weights is not None:
            bits = formats[layer.node.inputs[0]].bits * weights.bits
            total += node_macs(layer.node, shapes) * bits // 64
    return total
