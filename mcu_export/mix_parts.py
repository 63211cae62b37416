"""What mixes are made of: the network in 8 and in 16 bits, in the scales of channels that suit it.

Where activations have 8 bits, channels are equalized by their values, else by the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mcu_export.calibrate import Ranges, calibrate
from mcu_export.choose import EQUALIZE_SAMPLES, START, Found, part, search
from mcu_export.descent import descend
from mcu_export.efforts import Effort, rounding_count, sample_count
from mcu_export.graph import Graph, check
from mcu_export.mix import Narrow, Parts, Progress, narrow_constants, parts_of
from mcu_export.narrow import narrow
from mcu_export.ops import Array
from mcu_export.passes.equalize_weights import equalize_weights
from mcu_export.quantize import choose_formats
from mcu_export.rounding import learn_rounding
from mcu_export.schemes.widths import UNIFORM, Widths
from mcu_export.search import Choice, Meter


@dataclass(frozen=True, eq=False)
class Workshop:
    """A network to make mixes of.

    Attributes:
        parts: the network in 8 and in 16 bits.
        samples: what mixes are measured on.
        refine: searches formats and rounding of a mix once more.
    """

    parts: Parts
    samples: Mapping[str, Array]
    refine: Callable[[Narrow], Found]


def for_narrow_values(
    graph: Graph,
    ranges: Ranges,
    samples: Mapping[str, Array],
    effort: Effort,
    progress: Progress,
) -> Workshop:
    """For any mix: 8 bits as the search for q7 leaves them, 16 with narrowed activations.

    Weights are rounded for inputs of 16 bits, which are nearly those of float.
    """
    found = search(graph, ranges, samples, UNIFORM["q7"], replace(effort, roundings=0), progress)
    made, eight, work = found.graph, found.measured.choice, effort.in_all / 4
    formats, rounding = _meters(made, samples, effort)
    seen = ranges if made is graph else calibrate(made, part(samples, EQUALIZE_SAMPLES))
    wide = _wide(formats, seen)
    params = {node.name: narrow_constants(node, 16, eight, wide) for node in made.nodes}
    start = rounding.measure(replace(wide, params=params))
    rounded = learn_rounding(rounding, start, effort.taps, work=work)
    small = Choice(eight.activations, eight.params, rounded.choice.values)
    parts = parts_of(made, small, rounded, wide)

    def refine(mix: Narrow) -> Found:
        best = descend(formats, parts.choice(mix), 1, effort.roles, work=work)
        again = rounding.measure(best.choice)
        return Found(rounding, learn_rounding(rounding, again, effort.taps, work=work))

    return Workshop(parts, formats.samples, refine)


def for_wide_values(
    graph: Graph, ranges: Ranges, samples: Mapping[str, Array], effort: Effort
) -> Workshop:
    """For mixes whose activations all have 16 bits; those of 8 bits are the same here.

    To compare them, one equalization does for all. The one that is refined gets its own, for the
    layers that are narrow in it.
    """
    widths, work = UNIFORM["q15x7"], effort.in_all / 4
    made = check(equalize_weights(graph, 8, widths.narrow_layers(graph)), "equalize")
    formats, rounding = _meters(made, samples, effort)
    seen = calibrate(made, part(samples, EQUALIZE_SAMPLES))
    wide = _wide(formats, seen)
    _, params = choose_formats(made, seen, widths, START)
    found = descend(formats, replace(wide, params=params), 1, effort.roles, work=work)
    start = rounding.measure(found.choice)
    rounded = learn_rounding(rounding, start, effort.taps, work=work)

    def refine(mix: Narrow) -> Found:
        own = Widths(16, 16, of_layers=dict.fromkeys(mix.layers, 8))
        return search(graph, ranges, samples, own, effort)

    return Workshop(parts_of(made, rounded.choice, rounded, wide), formats.samples, refine)


def _meters(graph: Graph, samples: Mapping[str, Array], effort: Effort) -> tuple[Meter, Meter]:
    counts = sample_count(graph, effort), rounding_count(graph, effort, fitted=True)
    formats, rounding = (Meter(graph, part(samples, count)) for count in counts)
    return formats, rounding


def _wide(meter: Meter, ranges: Ranges) -> Choice:
    """All in 16 bits; activations with fewer where that leaves more to weights."""
    plain = Choice(*choose_formats(meter.graph, ranges, UNIFORM["q15"], START))
    return narrow(meter, meter.measure(plain)).choice
