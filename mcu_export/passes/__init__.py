"""Stage 2: passes, each a function Graph -> Graph that keeps the float function.

``PASSES`` lists them in the order in which they run. Each is idempotent and returns the graph
it was given where there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mcu_export.graph import Graph, check
from mcu_export.passes.fold_batch_norm import batch_norm_to_depthwise, fold_batch_norm
from mcu_export.passes.fold_forward import fold_forward, merge_batch_norms
from mcu_export.passes.fuse import fuse_activation, fuse_pad
from mcu_export.passes.simplify import merge_reshapes, sink_reshapes

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    sink_reshapes,
    merge_reshapes,
    fuse_pad,
    fold_batch_norm,
    merge_batch_norms,
    fold_forward,
    batch_norm_to_depthwise,
    fuse_activation,
    merge_reshapes,
)


def run_passes(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """The name of each pass and the graph after it, checked; the last one is the result."""
    for one in PASSES:
        graph = check(one(graph), f"pass {one.__name__}")
        yield one.__name__, graph
