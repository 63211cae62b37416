"""Stage 4 as a whole: formats and constants of a network, by ``--calibration`` and ``--effort``.

``minmax``, ``mse``, ``percentile`` and ``kl`` look at each tensor alone. ``output``, the default,
measures what formats do to the output. Power-of-two schemes: equalize, start from ``mse``,
descend, and with more effort try several equalizations and learn the rounding. Affine schemes: the
best of the four methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mcu_export.calibrate import Ranges, calibrate
from mcu_export.choose_ranges import best_ranges
from mcu_export.descent import change_count, descend
from mcu_export.graph import Graph, check
from mcu_export.logits import finest, logits_of
from mcu_export.narrow import narrow
from mcu_export.ops.base import Array
from mcu_export.passes.equalize import equalize
from mcu_export.passes.equalize_weights import equalize_weights
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize, quantize_network
from mcu_export.rounding import (
    adapted_weights,
    compensated_weights,
    corrected_bias,
    learn_rounding,
)
from mcu_export.samples import spread
from mcu_export.schemes.affine_formats import AFFINE_SCHEMES
from mcu_export.schemes.widths import UNIFORM, Widths
from mcu_export.search import Choice, Measured, Meter, layer_work

OUTPUT = "output"
START = "mse"


@dataclass(frozen=True)
class Effort:
    """What a search may cost; every figure is a count, so that results do not depend on time.

    Attributes:
        work: multiply-accumulates of one run over the samples; bounds how many are used, where
            they are more than :data:`USUAL_SAMPLES`.
        in_all: what all runs may cost, as :func:`mcu_export.search.layer_work` counts it; half of
            it for the descent. Long networks are searched with fewer samples, then in part.
        samples: least and most samples; more of small networks, see :data:`CHEAP`.
        rounds: most rounds of the descent.
        strengths: of equalization; the best at the output is kept.
        roles: constants whose formats are searched.
        roundings: times that rounding is learned, with a round of descent between.
        taps: layers that sum over more products keep their weights.
        rounding_samples: most samples that rounding is learned on; never fewer than above.
    """

    work: int
    in_all: int
    samples: tuple[int, int]
    rounds: int
    strengths: tuple[float, ...]
    roles: tuple[str, ...]
    roundings: int
    taps: int
    rounding_samples: int


GIGA = 1_000_000_000
EFFORTS: Mapping[str, Effort] = {
    "fast": Effort(
        work=GIGA * 4 // 5,
        in_all=75 * GIGA,
        samples=(4, 128),
        rounds=3,
        strengths=(0.25,),
        roles=("weights",),
        roundings=1,
        taps=4096,
        rounding_samples=256,
    ),
    "good": Effort(
        work=GIGA * 4 // 5,
        in_all=1000 * GIGA,
        samples=(8, 256),
        rounds=3,
        strengths=(0.0, 0.25, 0.5),
        roles=("weights", "bias"),
        roundings=1,
        taps=4096,
        rounding_samples=512,
    ),
    "best": Effort(
        work=3 * GIGA,
        in_all=10_000 * GIGA,
        samples=(16, 1024),
        rounds=4,
        strengths=(0.0, 0.25, 0.375, 0.5, 0.75),
        roles=("weights", "bias"),
        roundings=2,
        taps=8192,
        rounding_samples=1024,
    ),
}
USUAL_SAMPLES = 16
# Networks so small that a run costs this fraction of ``work`` get more samples: small dense layers
# see few different inputs in each.
CHEAP = 8
# Equalization looks at the largest values only and costs one run in float.
EQUALIZE_SAMPLES = 128
# Methods for the ranges of the affine schemes are compared on so many samples, least and most, and
# with so many multiply-accumulates for each method.
RANGE_SAMPLES, RANGE_WORK = (16, 256), 2 * GIGA
# Rounds of descent between activations with fewer bits and still fewer or more.
NARROWED = 2

Progress = Callable[[int, int], None]


def choose_network(
    graph: Graph,
    ranges: Ranges,
    samples: Mapping[str, Array],
    scheme: str,
    calibration: str,
    effort: str = "fast",
    progress: Progress = lambda done, total: None,
) -> QuantGraph:
    """The integer network of a float one.

    Args:
        graph: the float network after the passes. The result may hold an equalized one, which
            computes the same.
        ranges: what every value was observed to do.
        samples: real inputs, (samples, *shape) each.
        scheme: how numbers are stored.
        calibration: ``output`` or a method for single tensors.
        effort: one of :data:`EFFORTS`; only for ``output`` of power-of-two schemes.
        progress: called with steps done and in all.

    Raises:
        UnsupportedLayerError: a layer that the scheme has no arithmetic for.
    """
    if calibration != OUTPUT:
        return quantize_network(graph, ranges, scheme, calibration)
    if scheme in AFFINE_SCHEMES:
        least, most = RANGE_SAMPLES
        count = min(max(RANGE_WORK // max(graph.macs(), 1), least), most)
        return best_ranges(graph, ranges, part(samples, count), scheme)
    best = search(graph, ranges, samples, UNIFORM[scheme], EFFORTS[effort], progress)
    choice = finished(best)
    return quantize(
        best.graph, scheme, choice.activations, choice.params, choice.values, choice.used_bits
    )


@dataclass(frozen=True, eq=False)
class Found:
    """The result of a search: a choice as it was measured last, and by what."""

    meter: Meter
    measured: Measured

    @property
    def graph(self) -> Graph:
        """The network, perhaps equalized."""
        return self.meter.graph


def finished(found: Found) -> Choice:
    """The choice to export: 8-bit logits, with their coarse step, get what suits their softmax."""
    choice, logits = found.measured.choice, logits_of(found.graph)
    if logits is None or choice.activations[logits.maker].bits != 8:
        return choice
    real = np.concatenate(found.meter.real(logits.name))
    fmt = finest(real, choice.activations[logits.maker], logits.softmax)
    return choice.with_activation(logits.maker, fmt)


def search(
    graph: Graph,
    ranges: Ranges,
    samples: Mapping[str, Array],
    widths: Widths,
    effort: Effort,
    progress: Progress = lambda done, total: None,
) -> Found:
    """The choice with the smallest output error that the effort finds.

    Never worse than least squares per tensor on the network as it is.
    """
    few = part(samples, EQUALIZE_SAMPLES)
    used = part(samples, sample_count(graph, effort))
    narrow_layers = widths.narrow_layers(graph)
    graphs = _equalized(graph, few, narrow_layers, effort.strengths)
    total = (len(graphs) + 2 * effort.roundings) * 100
    # Far off in a classifier with 8-bit activations are those that saturate, mostly answers beyond
    # doubt: a finer step gains more. Elsewhere, somebody may need just these numbers.
    typical = widths.activations == 8 and logits_of(graph) is not None
    meter_of = partial(Meter, typical=typical)
    plain = Choice(*choose_formats(graph, ranges, widths, START))
    unchanged = meter_of(graph, used)
    best = Found(unchanged, unchanged.measure(plain))
    for index, made in enumerate(graphs):
        seen = ranges if made is graph else calibrate(made, few)
        start = Choice(*choose_formats(made, seen, widths, START))
        meter, step = meter_of(made, used), _scaled(progress, index, total)
        share = effort.in_all / 2 / len(graphs)
        ended = descend(meter, start, effort.rounds, effort.roles, step, share)
        found = Found(meter, _narrowed(meter, ended, effort, share))
        best = min(best, found, key=lambda one: one.measured.error)
    # With nothing but 16 bits there is little to make up for, and few samples would be fitted.
    weights = adapted_weights if narrow_layers else compensated_weights
    many = part(samples, rounding_count(best.graph, effort))
    for index in range(effort.roundings):
        done = len(graphs) + 2 * index
        choice = best.measured.choice
        if index:
            step = _scaled(progress, done, total)
            meter = meter_of(best.graph, used)
            choice = descend(meter, choice, 1, effort.roles, step, effort.in_all / 4).choice
        step, meter = _scaled(progress, done + 1, total), meter_of(best.graph, many)
        tried, work = (weights, corrected_bias), effort.in_all / 2
        now = learn_rounding(meter, meter.measure(choice), effort.taps, step, work, tried)
        best = Found(meter, now)
    return best


def _equalized(
    graph: Graph,
    samples: Mapping[str, Array],
    narrow_layers: frozenset[str],
    strengths: Sequence[float],
) -> list[Graph]:
    """The network in the scales of channels that are tried; ``graph`` itself for a strength of 0.

    Where weights have fewer bits than their inputs, factors follow from these weights alone.
    """
    if narrow_layers:
        made = [equalize_weights(graph, 8, narrow_layers)]
        made += [graph for strength in strengths if strength == 0]
    else:
        made = [equalize(graph, samples, strength) for strength in strengths]
    return [check(one, "equalize") for one in dict.fromkeys(made)]


def _narrowed(meter: Meter, ended: Measured, effort: Effort, work: float) -> Measured:
    """Narrowed where that helps; formats that were best before it are then searched once more."""
    best = narrow(meter, ended)
    for _ in range(NARROWED if best.choice.used_bits else 0):
        again = narrow(meter, descend(meter, best.choice, 1, effort.roles, work=work / NARROWED))
        if again.error >= best.error:
            break
        best = again
    return best


def sample_count(graph: Graph, effort: Effort) -> int:
    """How many samples a search uses: so many that a round of descent is within the effort."""
    least, most = effort.samples
    shapes = graph.shapes()
    changes = change_count(graph, effort.roles)
    per_round = sum(layer_work(node, shapes) for node in graph.nodes) * changes
    share = int(effort.in_all / 2 / len(effort.strengths))
    usual = max(effort.work // max(graph.macs(), 1), USUAL_SAMPLES)
    return min(max(min(usual, share // max(per_round, 1)), least), _most(most, graph, effort))


def _most(samples: int, graph: Graph, effort: Effort) -> int:
    """So many samples, or more where a run over them costs next to nothing."""
    return max(samples, effort.work // CHEAP // max(graph.macs(), 1))


def rounding_count(graph: Graph, effort: Effort) -> int:
    """On how many samples rounding is learned: all layers can be within half of the effort.

    Weights are fitted to more numbers than formats are, so it takes more samples.
    """
    shapes = graph.shapes()
    one_run = sum(layer_work(node, shapes) for node in graph.nodes)
    # Two remedies for all layers, each layer run before and after; then the same two for each layer
    # alone, which runs about half of the network.
    runs = 4 + sum("weights" in node.params for node in graph.nodes)
    possible = int(effort.in_all / 2) // max(one_run * runs, 1)
    most = _most(effort.rounding_samples, graph, effort)
    return max(sample_count(graph, effort), min(possible, most))


def part(samples: Mapping[str, Array], count: int) -> dict[str, Array]:
    """At most ``count`` samples, evenly spread over all."""
    chosen = spread(len(next(iter(samples.values()))), count)
    return {name: np.asarray(array[chosen], np.float32) for name, array in samples.items()}


def _scaled(progress: Progress, stage: int, total: int) -> Progress:
    """Progress of one of several stages of 100 steps each."""

    def report(done: int, of: int) -> None:
        progress(100 * stage + 100 * done // max(of, 1), total)

    return report
