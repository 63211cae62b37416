"""The mix of widths that is exported: a point of the measured front is chosen and refined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mcu_export.calibrate import Ranges, calibrate
from mcu_export.choose import (
    EQUALIZE_SAMPLES,
    START,
    Effort,
    part,
    rounding_count,
    sample_count,
    search,
)
from mcu_export.errors import VerificationError
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.mix import (
    Narrow,
    Parts,
    Progress,
    candidates,
    measured_points,
    noise_of,
    parts_of,
    quantize_choice,
)
from mcu_export.mix_costs import (
    DEFAULT_FLASH,
    CostOf,
    Limits,
    Point,
    pareto_front,
    within_limits,
)
from mcu_export.narrow import narrow
from mcu_export.ops import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats
from mcu_export.rounding import learn_rounding
from mcu_export.schemes.widths import UNIFORM
from mcu_export.search import Choice, Measured, Meter, descend


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
    parts = _both_widths(graph, ranges, real, effort, _stage(progress, 0))
    used = part(real, sample_count(parts.graph, effort))
    noise = noise_of(parts, used, executor, _stage(progress, 1))
    mixes = candidates(parts, noise)
    found = measured_points(parts, used, mixes, cost_of, executor, _stage(progress, 2))
    front = pareto_front(list(found.values()))
    if not limits.given:
        least = min(point.costs.flash for point in front)
        limits = Limits(flash=int(DEFAULT_FLASH * least))
    possible = within_limits(front, limits)
    meters = _meters(parts.graph, real, effort)
    mix_of = {id(point): mix for mix, point in found.items()}
    if limits.drop is None:
        point = possible[0]
        mix = mix_of[id(point)]
        best = _refined(parts, mix, meters, effort, _stage(progress, 3))
    else:
        pairs = [(p, mix_of[id(p)]) for p in possible]
        point, best = _keeping_drop(parts, pairs, meters, effort, limits.drop, real, labels)
    quant = quantize_choice(parts.graph, best.choice)
    return Mixed(quant, tuple(front), front.index(point), best.error)


@dataclass(frozen=True, eq=False)
class Meters:
    """What formats are measured with, and rounding on more samples."""

    formats: Meter
    rounding: Meter


def _meters(graph: Graph, samples: Mapping[str, Array], effort: Effort) -> Meters:
    counts = sample_count(graph, effort), rounding_count(graph, effort)
    formats, rounding = (Meter(graph, part(samples, count)) for count in counts)
    return Meters(formats, rounding)


def _both_widths(
    graph: Graph,
    ranges: Ranges,
    samples: Mapping[str, Array],
    effort: Effort,
    progress: Progress,
) -> Parts:
    """The network in 8 bits as the search for q7 leaves it, and in 16 with narrowed activations.

    Weights are rounded for inputs of 16 bits, which are nearly those of float.
    """
    few = part(samples, EQUALIZE_SAMPLES)
    found = search(graph, ranges, samples, UNIFORM["q7"], replace(effort, roundings=0), progress)
    made = found.graph
    seen = ranges if made is graph else calibrate(made, few)
    plain = Choice(*choose_formats(made, seen, UNIFORM["q15"], START))
    eight = found.measured.choice
    meters = _meters(made, samples, effort)
    wide = narrow(meters.formats, meters.formats.measure(plain)).choice
    only_weights = meters.rounding.measure(replace(wide, params=eight.params))
    rounded = learn_rounding(meters.rounding, only_weights, effort.taps)
    small = Choice(eight.activations, eight.params, rounded.choice.values)
    return parts_of(made, small, rounded, wide)


def _refined(
    parts: Parts, mix: Narrow, meters: Meters, effort: Effort, progress: Progress
) -> Measured:
    """The mix with its frac bits and its rounding searched once more; never worse."""
    best = descend(meters.formats, parts.choice(mix), 1, effort.roles, progress)
    return learn_rounding(meters.rounding, meters.rounding.measure(best.choice), effort.taps)


def _keeping_drop(
    parts: Parts,
    points: Sequence[tuple[Point, Narrow]],
    meters: Meters,
    effort: Effort,
    allowed: float,
    samples: Mapping[str, Array],
    labels: Array | None,
) -> tuple[Point, Measured]:
    """The point of the least flash whose network, refined, loses no more than is allowed."""
    least = float("inf")
    for point, mix in sorted(points, key=lambda p: (p[0].costs.flash, p[0].costs.macs_cost)):
        best = _refined(parts, mix, meters, effort, lambda done, total: None)
        lost = _lost(quantize_choice(parts.graph, best.choice), samples, labels)
        if lost <= allowed:
            return point, best
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
