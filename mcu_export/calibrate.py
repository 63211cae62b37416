"""Stage 3: run the float network on samples and observe every value.

Samples stream through in batches; what is kept per value is a histogram of fixed size, so memory
does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.errors import SamplesError
from mcu_export.graph import Graph, run_float
from mcu_export.ops.base import Array

BINS = 4096
BATCH_ELEMENTS = 4_000_000
# Ranges with exponents beyond are sorted into bins in float64: of tiny ones a float32 cannot hold
# the number of bins in 1.
NEAR_ONE = 60


@dataclass(frozen=True, eq=False)
class Observed:
    """What one value did over all samples.

    ``counts`` is a histogram of the values that are not exactly zero, over ``BINS`` equal bins of
    ``[-2**exponent, 2**exponent)``. Zeros are counted apart: they have no error in any format.
    """

    low: float
    high: float
    exponent: int
    counts: Array
    zeros: int

    @property
    def largest(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def centers(self) -> Array:
        """Real value in the middle of each bin."""
        width = 2.0 ** (self.exponent + 1) / BINS
        return (np.arange(BINS) + 0.5) * width - 2.0**self.exponent


Ranges = Mapping[str, Observed]


class Observer:
    """Accumulates an :class:`Observed` over batches; the histogram widens by powers of two."""

    def __init__(self) -> None:
        self.low, self.high, self.zeros = 0.0, 0.0, 0
        self.exponent: int | None = None
        self.counts = np.zeros(BINS, np.int64)

    def update(self, x: Array) -> None:
        """Take in one batch."""
        flat = np.asarray(x).ravel()
        zeros = flat.size - int(np.count_nonzero(flat))
        self.zeros += zeros
        if zeros == flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(-low, high))
        assert self.exponent is not None
        if flat.dtype != np.float32 or abs(self.exponent) > NEAR_ONE:
            flat = flat.astype(np.float64)
        scaled = flat * flat.dtype.type(BINS / 2.0 ** (self.exponent + 1))
        index = np.floor(scaled, out=scaled).astype(np.intp)
        index += BINS // 2
        self.counts += np.bincount(np.minimum(index, BINS - 1, out=index), minlength=BINS)
        self.counts[BINS // 2] -= zeros

    def _widen(self, largest: float) -> None:
        """Double the bins' width until ``largest`` lies inside; pairs of bins merge exactly."""
        needed = int(np.frexp(largest)[1])
        if self.exponent is None:
            self.exponent = needed
        while self.exponent < needed:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = merged
            self.exponent += 1

    def result(self) -> Observed:
        """What was seen so far."""
        return Observed(self.low, self.high, self.exponent or 0, self.counts, self.zeros)


def batches(graph: Graph, samples: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """The samples in batches whose largest value stays below ``BATCH_ELEMENTS`` elements."""
    widest = max(int(np.prod(shape)) for shape in graph.shapes().values())
    size = max(1, min(64, BATCH_ELEMENTS // widest))
    count = len(next(iter(samples.values())))
    for start in range(0, count, size):
        yield {name: array[start : start + size] for name, array in samples.items()}


def calibrate(
    graph: Graph,
    samples: Mapping[str, Array],
    progress: Callable[[int], None] = lambda done: None,
) -> Ranges:
    """Observe every value of ``graph`` on ``samples``.

    Args:
        graph: the float network after the passes.
        samples: for each graph input an array (samples, *shape) of real values.
        progress: called with the number of samples done.

    Raises:
        SamplesError: a value becomes infinite or NaN.
    """
    observers = {name: Observer() for name in graph.shapes()}
    done = 0
    for batch in batches(graph, samples):
        with np.errstate(over="ignore", invalid="ignore"):
            values = run_float(graph, {k: v.astype(np.float32) for k, v in batch.items()})
        for name, value in values.items():
            if not np.all(np.isfinite(value)):
                raise SamplesError(
                    f"the float network gives NaN or infinity at {name!r}",
                    where=f"samples {done} to {done + len(value) - 1}",
                    fix="check the scale of the samples: are they what the network was trained on?",
                )
            observers[name].update(value)
        done += len(next(iter(batch.values())))
        progress(done)
    return {name: observer.result() for name, observer in observers.items()}
