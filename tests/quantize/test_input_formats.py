"""Formats of inputs by labels: what rounding the input alone costs in right answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.calibrate import calibrate
from mcu_export.choose import choose_network
from mcu_export.errors import UsageError
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.input_formats import inputs_by_labels
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import Dense, Softmax
from mcu_export.options import Options, check_options
from mcu_export.quantize import choose_formats
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.widths import UNIFORM
from tests.helpers import rng


def classifier(softmax: bool = True) -> Graph:
    """Two classes, told apart by the sign of a small input; a large one moves both logits."""
    b = GraphBuilder("signs")
    weights = np.array([[1.0, 4.0], [1.0, -4.0]])
    y = b.add("out", Dense(), [b.input("in", (2,))], {"weights": weights, "bias": np.zeros(2)})
    return b.finish([b.add("softmax", Softmax(), [y], {}) if softmax else y], {})


def drawn(count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    x = rng(4).standard_normal((count, 2)) * (30.0, 0.4)
    return {"in": x.astype(np.float32)}, (x[:, 1] < 0).astype(np.int64)


def start_of(graph: Graph, samples: dict[str, np.ndarray]) -> dict[str, PowerOfTwo]:
    return choose_formats(graph, calibrate(graph, samples), UNIFORM["q7"], "mse")[0]


def test_labels_tell_that_a_small_input_matters() -> None:
    graph, (samples, labels) = classifier(), drawn(400)
    start = start_of(graph, samples)
    chosen = inputs_by_labels(graph, samples, labels, start)
    assert chosen["in"].frac_bits >= start["in"].frac_bits + 3
    ranges = calibrate(graph, samples)
    without, given = (
        choose_network(graph, ranges, samples, "q7", "output", labels=known)
        for known in (None, labels)
    )
    assert given.input_formats["in"] == chosen["in"]
    accuracy = [evaluate(quant, samples, labels).accuracy or 0.0 for quant in (without, given)]
    assert accuracy[1] > accuracy[0] + 0.1


def test_labels_that_have_nothing_to_do_with_it_change_no_answers() -> None:
    """By chance some format is right most often; the one that changes fewest answers stays."""
    graph, (samples, _) = classifier(), drawn(400)
    start = start_of(graph, samples)
    means = []
    for seed in range(5):
        labels = rng(seed).integers(0, 2, 400)
        chosen = inputs_by_labels(graph, samples, labels, start)
        means.append(chosen["in"].frac_bits)
    sure = inputs_by_labels(graph, samples, drawn(400)[1], start)
    assert means.count(sure["in"].frac_bits) >= 4


def test_labels_need_a_classifier() -> None:
    samples, labels = drawn(20)
    graph = classifier(softmax=False)
    with pytest.raises(UsageError, match="ends in a softmax"):
        inputs_by_labels(graph, samples, labels, start_of(graph, samples))


@pytest.mark.parametrize(
    "options, fine",
    [
        ({}, True),
        ({"scheme": "q7"}, True),
        ({"scheme": "mixed", "max_drop": 1.0}, True),
        ({"scheme": "mixed"}, False),
        ({"scheme": "q15"}, False),
        ({"scheme": "q7", "calibration": "mse"}, False),
    ],
    ids=str,
)
def test_labels_stand_where_they_are_used(options: dict[str, object], fine: bool) -> None:
    given = Options(**options, sample_labels="labels.npz:y")  # type: ignore[arg-type]
    if fine:
        assert check_options(given, Path("net.keras")).sample_labels == "labels.npz:y"
    else:
        with pytest.raises(UsageError, match="labels are for"):
            check_options(given, Path("net.keras"))
