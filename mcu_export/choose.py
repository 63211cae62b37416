"""Stage 4 as a whole: formats and constants of a network, by ``--calibration`` and ``--effort``.

``minmax``, ``mse``, ``percentile`` and ``kl`` look at each tensor alone. ``output``, the default,
measures what formats do to the output. Power-of-two schemes: equalize, start from ``mse``,
descend, and with more effort try several equalizations and learn the rounding. Affine schemes: the
best of the four methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mcu_export.calibrate import Ranges, calibrate
from mcu_export.choose_ranges import best_ranges
from mcu_export.descent import descend
from mcu_export.efforts import EFFORTS, GIGA, Effort, rounding_count, sample_count
from mcu_export.graph import Graph, check
from mcu_export.input_formats import inputs_by_labels
from mcu_export.logits import finest, logits_of
from mcu_export.narrow import narrow
from mcu_export.ops.base import Array
from mcu_export.passes.equalize import equalize
from mcu_export.passes.equalize_weights import equalize_weights
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize, quantize_network
from mcu_export.rounding import (
    Remedy,
    adapted_weights,
    compensated_weights,
    corrected_bias,
    learn_rounding,
)
from mcu_export.samples import spread
from mcu_export.schemes.affine_formats import AFFINE_SCHEMES
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.widths import UNIFORM, Widths
from mcu_export.search import Choice, Measured, Meter

OUTPUT = "output"
NO_FORMATS: Mapping[str, PowerOfTwo] = {}
START = "mse"


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
    labels: Array | None = None,
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
        labels: class of each sample; only for ``output`` of q7, whose inputs then get the formats
            that cost the fewest right answers.

    Raises:
        UnsupportedLayerError: a layer that the scheme has no arithmetic for.
        UsageError: labels for a network that is no classifier.
    """
    if calibration != OUTPUT:
        return quantize_network(graph, ranges, scheme, calibration)
    if scheme in AFFINE_SCHEMES:
        least, most = RANGE_SAMPLES
        count = min(max(RANGE_WORK // max(graph.macs(), 1), least), most)
        return best_ranges(graph, ranges, part(samples, count), scheme)
    inputs = NO_FORMATS
    if labels is not None:
        activations, _ = choose_formats(graph, ranges, UNIFORM[scheme], START)
        inputs = inputs_by_labels(graph, samples, labels, activations)
    best = search(graph, ranges, samples, UNIFORM[scheme], EFFORTS[effort], progress, inputs)
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
    inputs: Mapping[str, PowerOfTwo] = NO_FORMATS,
) -> Found:
    """The choice with the smallest output error that the effort finds.

    Never worse than least squares per tensor on the network as it is. ``inputs`` are formats of
    inputs that are not searched.
    """
    few = part(samples, EQUALIZE_SAMPLES)
    used = part(samples, sample_count(graph, effort))
    narrow_layers = widths.narrow_layers(graph)
    graphs = _equalized(graph, few, narrow_layers, effort.strengths)
    steps = _stages(progress, len(graphs) + 2 * effort.roundings)
    # Far off in a classifier with 8-bit activations are those that saturate, mostly answers beyond
    # doubt: a finer step gains more. Elsewhere, somebody may need just these numbers.
    typical = widths.activations == 8 and logits_of(graph) is not None
    meter_of = partial(Meter, typical=typical)
    usual = _start(graph, ranges, widths, inputs)
    unchanged = meter_of(graph, used)
    best = Found(unchanged, unchanged.measure(usual))
    for made, step in zip(graphs, steps, strict=False):
        seen = ranges if made is graph else calibrate(made, few)
        start = _start(made, seen, widths, inputs)
        meter = unchanged if made is graph else meter_of(made, used)
        share = effort.in_all / 2 / len(graphs)
        ended = descend(meter, start, effort.rounds, effort.roles, step, share, inputs)
        found = Found(meter, _narrowed(meter, ended, effort, share, inputs))
        if found.measured.error < best.measured.error:
            best, usual = found, start
    if not effort.roundings:
        return best
    count = rounding_count(best.graph, effort, fitted=bool(narrow_layers))
    rounder = meter_of(best.graph, part(samples, count))
    # With nothing but 16 bits there is little to make up for, and few samples would be fitted.
    weights = adapted_weights if narrow_layers else compensated_weights
    return _rounded(best, rounder, usual, weights, effort, steps[len(graphs) :], inputs)


def _rounded(
    found: Found,
    rounder: Meter,
    usual: Choice,
    weights: Remedy,
    effort: Effort,
    steps: Sequence[Progress],
    fixed: Collection[str],
) -> Found:
    """What is found with learned rounding, as often as the effort says.

    Args:
        found: formats as they were searched.
        rounder: measures the same network, on the samples that rounding is learned on.
        usual: formats by least squares.
        weights: the remedy for weights.
        effort: what it may cost.
        steps: progress of each search for formats and each learning.
        fixed: inputs that keep their formats.
    """
    now, remedies = found.measured, (weights, corrected_bias)
    for index in range(effort.roundings):
        if index:
            step, work = steps[2 * index], effort.in_all / 4
            now = descend(found.meter, now.choice, 1, effort.roles, step, work, fixed)
        starts, step = _to_round(now.choice, usual), steps[2 * index + 1]
        work = effort.in_all / 2 / len(starts)
        learned = [
            learn_rounding(rounder, rounder.measure(one), effort.taps, step, work, remedies)
            for one in starts
        ]
        now = min(learned, key=lambda one: one.error)
    return Found(rounder, now)


def _to_round(choice: Choice, usual: Choice) -> list[Choice]:
    """What to learn rounding from: ``choice``, and with weights no finer than usual if it has such.

    Before rounding is learned, a step that is finer may gain more than weights that saturate lose.
    Learned rounding then makes up for coarse steps, but not for what saturates.
    """
    params = {
        name: {
            role: min(fmt, usual.params[name][role], key=_frac_bits)
            for role, fmt in formats.items()
        }
        for name, formats in choice.params.items()
    }
    return [choice] if params == choice.params else [choice, replace(choice, params=params)]


def _frac_bits(fmt: PowerOfTwo) -> int:
    return fmt.frac_bits


def _start(
    graph: Graph, ranges: Ranges, widths: Widths, inputs: Mapping[str, PowerOfTwo]
) -> Choice:
    """Least squares per tensor, but for the inputs that are given."""
    activations, params = choose_formats(graph, ranges, widths, START)
    return Choice({**activations, **inputs}, params)


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


def _narrowed(
    meter: Meter, ended: Measured, effort: Effort, work: float, fixed: Collection[str]
) -> Measured:
    """Narrowed where that helps; formats that were best before it are then searched once more."""
    best = narrow(meter, ended)
    for _ in range(NARROWED if best.choice.used_bits else 0):
        share = work / NARROWED
        once_more = descend(meter, best.choice, 1, effort.roles, work=share, fixed=fixed)
        again = narrow(meter, once_more)
        if again.error >= best.error:
            break
        best = again
    return best


def part(samples: Mapping[str, Array], count: int) -> dict[str, Array]:
    """At most ``count`` samples, evenly spread over all."""
    chosen = spread(len(next(iter(samples.values()))), count)
    return {name: np.asarray(array[chosen], np.float32) for name, array in samples.items()}


def _stages(progress: Progress, count: int) -> list[Progress]:
    """Progress of each of so many stages of 100 steps."""

    def report(stage: int, done: int, of: int) -> None:
        progress(100 * stage + 100 * done // max(of, 1), 100 * count)

    return [partial(report, stage) for stage in range(count)]
