"""The format of an 8-bit input, where labels of the samples tell what rounding it costs.

Inputs are often the coarsest values of a network: MFCC 0 varies ten times as much as the others and
shares their step. The search takes every error of the output for a loss. With labels the answers
that it costs to round, or to saturate, the input alone can be counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.errors import UsageError
from mcu_export.evaluate import argmax
from mcu_export.graph import Graph, run_float
from mcu_export.logits import logits_of
from mcu_export.ops import Array
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.simulate import quantize_float32

# Frac bits beside those of least squares that are tried.
TRIED = range(-1, 5)


def inputs_by_labels(
    graph: Graph,
    samples: Mapping[str, Array],
    labels: Array,
    formats: Mapping[str, PowerOfTwo],
) -> dict[str, PowerOfTwo]:
    """For each input the format with which the float network gives most right answers.

    One that gives more than the format that changes fewest answers, but no more than chance makes
    of it, does not count.

    Args:
        graph: the float network, a classifier.
        samples: real inputs, (samples, *shape) each.
        labels: class of each sample, int64.
        formats: where to start, for each input.

    Raises:
        UsageError: the network is no classifier.
    """
    logits = logits_of(graph)
    if logits is None:
        raise UsageError(
            "labels need a network that ends in a softmax",
            where="--sample-labels",
            fix="leave them out: formats then follow from the error of the output",
        )
    real = _answers(graph, logits.name, samples, {})
    chosen: dict[str, PowerOfTwo] = {}
    for name in samples:
        tried = [replace(formats[name], frac_bits=formats[name].frac_bits + d) for d in TRIED]
        given = [_answers(graph, logits.name, samples, {**chosen, name: fmt}) for fmt in tried]
        nearest = int(np.argmax([(answers == real).mean() for answers in given]))
        right = [answers == labels for answers in given]
        best = int(np.argmax([some.sum() for some in right]))
        gained = int(right[best].sum()) - int(right[nearest].sum())
        by_chance = math.sqrt((right[best] != right[nearest]).sum())
        chosen[name] = tried[best if gained > by_chance else nearest]
    return chosen


def _answers(
    graph: Graph, logits: str, samples: Mapping[str, Array], formats: Mapping[str, PowerOfTwo]
) -> Array:
    """Class of each sample by the float network, some inputs rounded to their formats."""
    found = []
    for batch in batches(graph, samples):
        inputs = {name: np.asarray(array, np.float32) for name, array in batch.items()}
        for name, fmt in formats.items():
            inputs[name] = np.ldexp(quantize_float32(inputs[name], fmt), -fmt.frac_bits)
        found.append(argmax(run_float(graph, inputs)[logits]))
    return np.concatenate(found)
