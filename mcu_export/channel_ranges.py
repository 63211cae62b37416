"""How unequal the channels of a layer are: what one format for all of them costs the small ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.graph import Graph, run_float
from mcu_export.ops.base import Array
from mcu_export.passes.equalize import OUTPUT_AXIS, output_peaks


@dataclass(frozen=True)
class ChannelRanges:
    """Largest magnitudes of the channels (last axis) of one value.

    Attributes:
        name: of the graph input or layer.
        channels: how many; ``silent`` ones are always zero and not counted in what follows.
        least, median, most: of the largest magnitudes of the channels.
        lost_bits: that the median channel does not use in a format that holds the largest one.
        weights_lost_bits: the same for the output channels of the weights; None without weights.
    """

    name: str
    channels: int
    silent: int
    least: float
    median: float
    most: float
    lost_bits: float
    weights_lost_bits: float | None


def channel_ranges(graph: Graph, samples: Mapping[str, Array]) -> list[ChannelRanges]:
    """Every input and layer, in the order of the network.

    Args:
        graph: the float network after the passes.
        samples: real inputs, (samples, *shape) each.
    """
    peaks: dict[str, Array] = {}
    for batch in batches(graph, samples):
        values = run_float(graph, {name: np.asarray(a, np.float32) for name, a in batch.items()})
        for name, value in values.items():
            seen = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            peaks[name] = np.maximum(peaks.get(name, seen), seen)
    weights = {n.name: output_peaks(n) for n in graph.nodes if type(n.op) in OUTPUT_AXIS}
    return [_ranges(name, seen, weights.get(name)) for name, seen in peaks.items()]


def _ranges(name: str, peaks: Array, weights: Array | None) -> ChannelRanges:
    used = peaks[peaks > 0]
    least, median, most = (
        (float(used.min()), float(np.median(used)), float(used.max()))
        if used.size
        else (0.0, 0.0, 0.0)
    )
    return ChannelRanges(
        name=name,
        channels=len(peaks),
        silent=len(peaks) - len(used),
        least=least,
        median=median,
        most=most,
        lost_bits=_lost_bits(peaks),
        weights_lost_bits=None if weights is None else _lost_bits(weights),
    )


def _lost_bits(peaks: Array) -> float:
    used = peaks[peaks > 0]
    return math.log2(float(used.max()) / float(np.median(used))) if used.size else 0.0
