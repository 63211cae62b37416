"""The mix of widths that is exported: a point of the measured front is chosen and refined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mcu_export.calibrate import Ranges
from mcu_export.choose import Found
from mcu_export.efforts import Effort
from mcu_export.errors import VerificationError
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.mix import (
    Narrow,
    Progress,
    measured_points,
    noise_of,
    quantize_choice,
)
from mcu_export.mix_candidates import candidates, wide_candidates
from mcu_export.mix_costs import (
    DEFAULT_FLASH,
    CostOf,
    Limits,
    Point,
    pareto_front,
    within_limits,
)
from mcu_export.mix_parts import Workshop, for_narrow_values, for_wide_values
from mcu_export.ops import Array
from mcu_export.quantgraph import QuantGraph

# So many points of the front are refined, where the one with the least error is wanted: refining
# gains more for one than for another.
REFINED = 2


@dataclass(frozen=True, eq=False)
class Mixed:
    """A mixed network, and the front that it was chosen from.

    Attributes:
        quant: the network in integers.
        front: the measured Pareto front, the least error first; errors are those before the chosen
            point was refined.
        chosen: index of the exported point.
        error: of the exported network.
    """

    quant: QuantGraph
    front: tuple[Point, ...]
    chosen: int
    error: float

    def facts(self) -> dict[str, Any]:
        """What the manifest says of the search."""
        points = [asdict(point) for point in self.front]
        for index, point in enumerate(points):
            point.update(point.pop("costs"), exported=index == self.chosen)
        return {"error": self.error, "front": points}


def search_mix(
    graph: Graph,
    ranges: Ranges,
    samples: Mapping[str, Array],
    effort: Effort,
    cost_of: CostOf,
    limits: Limits,
    labels: Array | None = None,
    executor: Executor | None = None,
    progress: Progress = lambda done, total: None,
) -> Mixed:
    """The best mix of 8 and 16 bits within limits.

    The point with the least error; with a limit on the drop the one with the least flash that
    keeps it. Without any limit, flash is limited to 1.25 times that of q7.

    Args:
        graph, ranges, samples: as :func:`mcu_export.choose.choose_network`.
        effort: what the search may cost.
        cost_of: flash, RAM and cost of products of a network.
        limits: most that the mix may cost.
        labels: class of each sample, for the limit on the drop. Without them it holds for the share
            of samples that get another answer than in float, which is never less than the drop.
        executor: where evaluations run side by side; in turn without one.
        progress: called with steps done and in all.

    Raises:
        BudgetError: no mix is within the limits.
        VerificationError: no mix within the limits keeps the drop.
    """
    real = {name: np.asarray(array, np.float32) for name, array in samples.items()}
    by_values = for_narrow_values(graph, ranges, real, effort, _stage(progress, 0))
    by_weights = for_wide_values(graph, ranges, real, effort)
    found = [
        *_measured(by_values, True, cost_of, executor, _stage(progress, 1)),
        *_measured(by_weights, False, cost_of, executor, _stage(progress, 2)),
    ]
    front = pareto_front([made.point for made in found])
    if not limits.given:
        least = min(point.costs.flash for point in front)
        limits = Limits(flash=int(DEFAULT_FLASH * least))
    made_of = {id(made.point): made for made in found}
    possible = [made_of[id(point)] for point in within_limits(front, limits)]
    if limits.drop is None:
        made, best = _least_error(possible[:REFINED], _stage(progress, 3))
    else:
        made, best = _keeping_drop(possible, limits.drop, real, labels)
    quant = quantize_choice(best.graph, best.measured.choice)
    return Mixed(quant, tuple(front), front.index(made.point), best.measured.error)


@dataclass(frozen=True, eq=False)
class Made:
    """A mix that was measured."""

    point: Point
    mix: Narrow
    workshop: Workshop

    def refined(self) -> Found:
        """The mix with its formats and its rounding searched once more."""
        return self.workshop.refine(self.mix)


def _measured(
    workshop: Workshop,
    narrow_values: bool,
    cost_of: CostOf,
    executor: Executor | None,
    progress: Progress,
) -> list[Made]:
    """The mixes that the noise of each part alone proposes; ``narrow_values``: any, else wide."""
    parts, samples = workshop.parts, workshop.samples
    values = parts.values if narrow_values else ()
    noise = noise_of(parts, samples, values, executor, lambda done, of: progress(done, 2 * of))
    mixes = (candidates if narrow_values else wide_candidates)(parts, noise)

    def second(done: int, of: int) -> None:
        progress(of + done, 2 * of)

    points = measured_points(parts, samples, mixes, cost_of, executor, second)
    return [Made(point, mix, workshop) for mix, point in points.items()]


def _least_error(mixes: Sequence[Made], progress: Progress) -> tuple[Made, Found]:
    """The mix that errs least once it is refined."""
    found = []
    for index, made in enumerate(mixes):
        found.append((made, made.refined()))
        progress(index + 1, len(mixes))
    return min(found, key=lambda pair: pair[1].measured.error)


def _keeping_drop(
    mixes: Sequence[Made], allowed: float, samples: Mapping[str, Array], labels: Array | None
) -> tuple[Made, Found]:
    """The mix of the least flash that, refined, loses no more than is allowed."""
    least = float("inf")
    for made in sorted(mixes, key=lambda m: (m.point.costs.flash, m.point.costs.macs_cost)):
        best = made.refined()
        lost = _lost(quantize_choice(best.graph, best.measured.choice), samples, labels)
        if lost <= allowed:
            return made, best
        least = min(least, lost)
    what = "points of accuracy" if labels is not None else "% of the answers of float"
    raise VerificationError(
        f"every mix within the limits loses at least {least:.2f} {what}, {allowed} are allowed",
        where="--max-drop",
        fix="allow more, or give labels of the samples (--sample-labels)"
        if labels is None
        else "allow more, raise the other limits, or use --scheme q15",
    )


def _lost(quant: QuantGraph, samples: Mapping[str, Array], labels: Array | None) -> float:
    """Points of accuracy lost; without labels the most that they can be."""
    result = evaluate(quant, samples, labels)
    return 100 * (1 - result.agreement) if result.drop is None else result.drop


def _stage(progress: Progress, stage: int) -> Progress:
    """Progress of one of four stages of 100 steps each."""

    def report(done: int, of: int) -> None:
        progress(100 * stage + 100 * done // max(of, 1), 400)

    return report
