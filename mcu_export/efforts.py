"""``--effort``: what a search over formats may cost, and how many samples that leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcu_export.descent import change_count
from mcu_export.graph import Graph
from mcu_export.search import layer_work


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
        rounding_samples: most samples that rounding is learned on; never fewer than above, and
            :data:`FITTED` times as many where it fits weights to them.
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
        work=GIGA * 8 // 5,
        in_all=150 * GIGA,
        samples=(4, 128),
        rounds=3,
        strengths=(0.25,),
        roles=("weights",),
        roundings=1,
        taps=4096,
        rounding_samples=256,
    ),
    "good": Effort(
        work=GIGA * 8 // 5,
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
# Where weights are fitted to samples, it takes so many times as many of them.
FITTED = 4


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


def rounding_count(graph: Graph, effort: Effort, fitted: bool = False) -> int:
    """On how many samples rounding is learned: all layers can be within half of the effort.

    Weights are fitted to more numbers than formats are, so it takes more samples.

    Args:
        graph: the float network.
        effort: what the search may cost.
        fitted: nothing hides how well weights of 8 bits suit these samples: activations have 16.
    """
    shapes = graph.shapes()
    one_run = sum(layer_work(node, shapes) for node in graph.nodes)
    # Two remedies for all layers, each layer run before and after; then the same two for each layer
    # alone, which runs about half of the network.
    runs = 4 + sum("weights" in node.params for node in graph.nodes)
    possible = int(effort.in_all / 2) // max(one_run * runs, 1)
    most = _most(effort.rounding_samples * (FITTED if fitted else 1), graph, effort)
    return max(sample_count(graph, effort), min(possible, most))
