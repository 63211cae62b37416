"""How well the integer network does: against labels and against the float network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.graph import Graph, run_float
from mcu_export.ops.base import Array, elements
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import dequantize_inputs, quantize_inputs, run_reference
from mcu_export.samples import check_classes


@dataclass(frozen=True)
class Evaluation:
    """Figures of one set of samples; its fields are the keys of ``evaluate --json``.

    Attributes:
        samples: how many.
        float_accuracy, accuracy: share of right answers, float and integer; None without labels.
        agreement: share of samples where both give the same class.
        sqnr_db: signal to quantization noise of the first output in dB; None without noise.
        confusion: how often class [row] got the answer [column] in integers; None without labels.
    """

    samples: int
    float_accuracy: float | None
    accuracy: float | None
    agreement: float
    sqnr_db: float | None
    confusion: tuple[tuple[int, ...], ...] | None = None

    @property
    def drop(self) -> float | None:
        """Accuracy lost to quantization, in points (hundredths)."""
        if self.accuracy is None or self.float_accuracy is None:
            return None
        return 100 * (self.float_accuracy - self.accuracy)


def evaluate(
    quant: QuantGraph,
    samples: Mapping[str, Array],
    labels: Array | None,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Run both networks on samples.

    Args:
        quant: the integer network; its graph holds the float one.
        samples: for each input (samples, *shape); integers of the input's type are quantized.
        labels: class of each sample, or None.
        progress: called with the number of samples done.

    Raises:
        SamplesError: a label that is no class of the network.
    """
    if labels is not None:
        check_classes(labels, class_count(quant.graph), "labels")
    real, integer = first_outputs(quant, samples, progress)
    float_class, class_ = argmax(real), argmax(integer)
    noise = float(np.square(real - integer).sum())
    signal = float(np.square(real).sum())
    return Evaluation(
        samples=len(real),
        float_accuracy=None if labels is None else float(np.mean(float_class == labels)),
        accuracy=None if labels is None else float(np.mean(class_ == labels)),
        agreement=float(np.mean(float_class == class_)),
        sqnr_db=10 * math.log10(signal / noise) if noise and signal else None,
        confusion=None if labels is None else confusion(labels, class_),
    )


def class_count(graph: Graph) -> int:
    """How many classes the first output tells apart."""
    return elements(graph.shapes()[graph.outputs[0]])


def confusion(labels: Array, answers: Array) -> tuple[tuple[int, ...], ...]:
    """How often each true class (row) got each answer (column)."""
    count = int(max(labels.max(), answers.max())) + 1
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, answers), 1)
    return tuple(tuple(int(n) for n in row) for row in table)


def first_outputs(
    quant: QuantGraph, samples: Mapping[str, Array], progress: Callable[[int], None]
) -> tuple[Array, Array]:
    """First output of all samples as real values: of the float network, of the integer one."""
    output = quant.graph.outputs[0]
    fmt = quant.formats()[output]
    real, integer, done = [], [], 0
    for batch in batches(quant.graph, samples):
        quantized = quantize_inputs(quant, batch)
        floats = run_float(quant.graph, dequantize_inputs(quant, batch))
        real.append(np.asarray(floats[output], np.float64))
        integer.append(fmt.dequantize(run_reference(quant, quantized)[output]))
        done += len(real[-1])
        progress(done)
    return np.concatenate(real), np.concatenate(integer)


def argmax(values: Array) -> Array:
    """Class of each sample: the first of its largest outputs."""
    classes: Array = np.argmax(values.reshape(len(values), -1), axis=1)
    return classes
