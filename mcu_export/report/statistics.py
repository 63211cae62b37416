"""What every layer of an export does on samples: distributions, noise, saturation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.calibrate import Observed, Observer, batches
from mcu_export.graph import run_float
from mcu_export.logits import logits_of
from mcu_export.ops import Softmax
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.reference import dequantize_inputs, quantize_inputs, run_reference
from mcu_export.schemes.formats import Format

BINS = 48


@dataclass(frozen=True)
class Distribution:
    """How values are spread, and what their format can hold.

    Attributes:
        low, high: ends of the axis; they enclose the values and the format's range.
        shares: share of the values that are not zero in each of ``BINS`` equal bins of the axis.
        smallest, largest: of the values.
        range_low, range_high: smallest and largest real value that the format holds.
        saturated: share of all values beyond the range by more than half a step.
        zeros: share of all values.
    """

    low: float
    high: float
    shares: tuple[float, ...]
    smallest: float
    largest: float
    range_low: float
    range_high: float
    saturated: float
    zeros: float


@dataclass(frozen=True)
class ValueStatistics:
    """A value of the network on the samples; ``op`` is empty for an input.

    ``sqnr_db`` compares with the float network, all layers before included; ``own_sqnr_db`` with
    the float layer on the very integers that this layer reads. None: there is no noise at all.
    ``may_saturate``: probabilities, where 1 is beyond the fixed format of softmax, and the logits
    of a classifier, where low ones mean nothing.
    """

    name: str
    op: str
    format: str
    activations: Distribution
    sqnr_db: float | None
    own_sqnr_db: float | None
    weights_format: str
    weights: Distribution | None
    weights_sqnr_db: float | None
    may_saturate: bool


class _Sums:
    """Sums of one value over the batches."""

    def __init__(self, fmt: Format) -> None:
        self.observer = Observer()
        self.range = format_range(fmt)
        self.step = (self.range[1] - self.range[0]) / (fmt.highest - fmt.lowest)
        self.signal = self.noise = self.own_signal = self.own_noise = 0.0
        self.count = self.saturated = 0

    def add(self, real: Array, stored: Array) -> None:
        """A batch of the float network, and what the integers stand for."""
        self.observer.update(real)
        wide = np.asarray(real, np.float64)
        self.signal += float(np.square(wide).sum())
        self.noise += float(np.square(wide - stored).sum())
        low, high = self.range
        beyond = (wide > high + self.step / 2) | (wide < low - self.step / 2)
        self.saturated += int(beyond.sum())
        self.count += wide.size

    def add_own(self, real: Array, stored: Array) -> None:
        """A batch of the float layer on what the integers before it stand for."""
        wide = np.asarray(real, np.float64)
        self.own_signal += float(np.square(wide).sum())
        self.own_noise += float(np.square(wide - stored).sum())


def collect(
    quant: QuantGraph,
    samples: Mapping[str, Array],
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[ValueStatistics, ...]:
    """Statistics of every input and layer, in the order of the network.

    Args:
        quant: the integer network.
        samples: for each input (samples, *shape); integers of the input's type are quantized.
        progress: called with the number of samples done.
    """
    formats = quant.formats()
    sums = {name: _Sums(fmt) for name, fmt in formats.items()}
    done = 0
    for batch in batches(quant.graph, samples):
        floats = run_float(quant.graph, dequantize_inputs(quant, batch))
        integers = run_reference(quant, quantize_inputs(quant, batch))
        stored = {name: formats[name].dequantize(integers[name]) for name in formats}
        for name in formats:
            sums[name].add(floats[name], stored[name])
        for node in quant.nodes:
            inputs = [stored[i].astype(np.float32) for i in node.node.inputs]
            params = {k: np.asarray(a, np.float32) for k, a in node.node.params.items()}
            sums[node.name].add_own(node.node.op.compute(inputs, params), stored[node.name])
        done += len(next(iter(batch.values())))
        progress(done)
    nodes, logits = {node.name: node for node in quant.nodes}, logits_of(quant.graph)
    free = {node.name for node in quant.nodes if isinstance(node.node.op, Softmax)}
    free |= {logits.name, logits.maker} if logits else set()
    return tuple(
        _value(name, sums[name], formats[name], nodes.get(name), name in free) for name in formats
    )


def format_range(fmt: Format) -> tuple[float, float]:
    """Smallest and largest real value that the format of a tensor holds."""
    low, high = format_limits(fmt, 1)
    return float(np.min(low)), float(np.max(high))


def format_limits(fmt: Format, ndim: int) -> tuple[Array, Array]:
    """The same as arrays that go with one of ``ndim`` axes: a channel may have its own scale."""
    shape = (1,) * ndim
    return fmt.dequantize(np.full(shape, fmt.lowest)), fmt.dequantize(np.full(shape, fmt.highest))


def decibels(signal: float, noise: float) -> float | None:
    """Signal to noise in dB; None without one or the other."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def _value(
    name: str, sums: _Sums, fmt: Format, node: QuantNode | None, may_saturate: bool
) -> ValueStatistics:
    weights = sqnr = None
    weights_format = ""
    if node and "weights" in node.params:
        weight_fmt = node.param_formats["weights"]
        weights_format = weight_fmt.text()
        weights, sqnr = _weights(node, weight_fmt)
    return ValueStatistics(
        name=name,
        op=node.node.op.kind if node else "",
        format=fmt.text(),
        activations=_distribution(
            sums.observer.result(), sums.range, sums.saturated / max(sums.count, 1)
        ),
        sqnr_db=decibels(sums.signal, sums.noise),
        own_sqnr_db=decibels(sums.own_signal, sums.own_noise),
        weights_format=weights_format,
        weights=weights,
        weights_sqnr_db=sqnr,
        may_saturate=may_saturate,
    )


def _weights(node: QuantNode, fmt: Format) -> tuple[Distribution, float | None]:
    real = np.asarray(node.node.params["weights"], np.float64)
    stored = fmt.dequantize(node.params["weights"])
    observer = Observer()
    observer.update(real)
    low, high = format_limits(fmt, real.ndim)
    half = (high - low) / (fmt.highest - fmt.lowest) / 2
    beyond = (real > high + half) | (real < low - half)
    limits = float(np.min(low)), float(np.max(high))
    distribution = _distribution(observer.result(), limits, float(beyond.mean()))
    noise = float(np.square(real - stored).sum())
    return distribution, decibels(float(np.square(real).sum()), noise)


def _distribution(seen: Observed, limits: tuple[float, float], saturated: float) -> Distribution:
    low, high = min(seen.low, limits[0]), max(seen.high, limits[1])
    # The middle of an outermost bin may lie beyond the values in it.
    centers = np.clip(seen.centers(), low, high)
    counts, _ = np.histogram(centers, BINS, (low, high), weights=seen.counts)
    total = int(seen.counts.sum())
    shares = counts / max(total, 1)
    return Distribution(
        low,
        high,
        tuple(float(share) for share in shares),
        seen.low,
        seen.high,
        *limits,
        saturated,
        seen.zeros / max(seen.zeros + total, 1),
    )
