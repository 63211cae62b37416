"""Ranges of single tensors from what calibration observed: percentile and KL divergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcu_export.calibrate import Observed
from mcu_export.ops.base import Array

# Share of the values that lie within the range; zeros do not count.
PERCENTILE = 0.9999


def percentile_limit(seen: Observed) -> float:
    """The smallest magnitude that :data:`PERCENTILE` of all values other than zero do not exceed.

    0 where all are zero.
    """
    total = int(seen.counts.sum())
    if not total:
        return 0.0
    magnitudes, counts = _by_magnitude(seen)
    index = int(np.searchsorted(np.cumsum(counts), PERCENTILE * total))
    return min(float(magnitudes[min(index, len(magnitudes) - 1)]), seen.largest)


def kl_limit(seen: Observed, bits: int, limits: Sequence[float]) -> float:
    """The limit whose quantized histogram diverges least from the observed one.

    What lies beyond a limit saturates onto its last bin; the bins within are quantized to
    ``2**(bits - 1)`` levels. Source: Migacz 2017, "8-bit inference with TensorRT".

    Args:
        seen: the tensor.
        bits: of the integers.
        limits: candidates, largest first; the first of equals wins.
    """
    _, counts = _by_magnitude(seen)
    width = 2.0**seen.exponent / len(counts)
    divergences = [
        _divergence(counts, max(1, min(len(counts), int(np.ceil(limit / width)))), 2 ** (bits - 1))
        for limit in limits
    ]
    return limits[int(np.argmin(divergences))]


def _by_magnitude(seen: Observed) -> tuple[Array, Array]:
    """Upper edge of each bin of magnitudes, and how many values of either sign it has."""
    half = len(seen.counts) // 2
    counts = seen.counts[half:] + seen.counts[:half][::-1]
    edges = np.arange(1, half + 1) * (2.0**seen.exponent / half)
    return edges, counts


def _divergence(counts: Array, bins: int, levels: int) -> float:
    """KL divergence of the histogram that saturates at ``bins`` and its quantized form."""
    inside = counts[:bins].astype(np.float64)
    wanted = inside.copy()
    wanted[-1] += counts[bins:].sum()
    if not wanted.sum():
        return 0.0
    level = np.arange(bins) * min(levels, bins) // bins
    used = inside > 0
    sums = np.bincount(level, weights=inside)
    members = np.bincount(level, weights=used)
    spread = np.where(used, sums[level] / np.maximum(members[level], 1), 0.0)
    p = wanted / wanted.sum()
    # An empty bin of the quantized histogram gets next to nothing, so that the logarithm is finite.
    q = np.maximum(spread, 1e-9) / np.maximum(spread, 1e-9).sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
