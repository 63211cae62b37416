"""The affine schemes: how ranges are estimated, by what that does to the network's output."""

from __future__ import annotations

from collections.abc import Mapping

from mcu_export.affine_rounding import learn_affine_rounding
from mcu_export.calibrate import Ranges
from mcu_export.graph import Graph, run_float
from mcu_export.logits import before_softmax
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize_network
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.schemes.affine_formats import RANGES
from mcu_export.schemes.widths import INT4
from mcu_export.search import relative_error


def best_ranges(
    graph: Graph, ranges: Ranges, samples: Mapping[str, Array], scheme: str
) -> QuantGraph:
    """The integer network by that method for single tensors whose outputs err least.

    The error is that of the search over frac bits, see :class:`mcu_export.search.Meter`.

    No method is the best everywhere: where a few large values carry the answer the whole range is,
    where a long tail does not matter a part of it. With 4-bit weights rounding is learned, too.

    Args:
        graph: the float network after the passes.
        ranges: what every value was observed to do.
        samples: real inputs to measure the error on, (samples, *shape) each.
        scheme: one of :data:`mcu_export.schemes.affine_formats.AFFINE_SCHEMES`.

    Raises:
        UnsupportedLayerError: a layer that the scheme has no arithmetic for.
    """
    real = run_float(graph, samples)
    outputs = tuple(dict.fromkeys(before_softmax(graph, name) for name in graph.outputs))

    def error(quant: QuantGraph) -> float:
        values, formats = run_reference(quant, quantize_inputs(quant, samples)), quant.formats()
        return sum(relative_error(real[n], formats[n].dequantize(values[n])) for n in outputs)

    best = min((quantize_network(graph, ranges, scheme, method) for method in RANGES), key=error)
    if scheme != INT4:
        return best
    return min(best, learn_affine_rounding(best, samples), key=error)
