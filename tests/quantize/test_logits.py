"""Formats of a classifier's logits: who has logits, and what becomes of their answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcu_export.calibrate import calibrate
from mcu_export.choose import choose_network, finished, search
from mcu_export.efforts import EFFORTS
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.logits import Logits, finest, logits_of
from mcu_export.ops import Array, Dense, Reshape, Softmax
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.widths import UNIFORM
from tests.helpers import after_passes, draw, rng, toy, weights


def probabilities(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def drawn_logits(spread: float, low: float, count: int = 500) -> Array:
    """Close classes, and one that is far below them."""
    logits = rng(4).standard_normal((count, 5)).astype(np.float32) * np.float32(spread)
    logits[:, 2] = low
    return logits


def classifier(softmax: bool = True, flat: bool = False, read: bool = False) -> Graph:
    r = rng(5)
    b = GraphBuilder("classifier")
    x = b.input("in", (12,))
    y = b.add("scores", Dense(), [x], weights(r, (6, 12), 6))
    outputs = [b.add("other", Dense(), [y], weights(r, (2, 6), 2))] if read else []
    if flat:
        y = b.add("flat", Reshape((1, 6)), [y])
    if softmax:
        y = b.add("softmax", Softmax(2.0), [y])
    return b.finish([y, *outputs], {})


def test_a_softmax_at_the_end_or_in_the_file_makes_logits() -> None:
    assert logits_of(classifier()) == Logits("scores", "scores", Softmax(2.0))
    assert logits_of(classifier(flat=True)) == Logits("flat", "scores", Softmax(2.0))
    plain = classifier(softmax=False)
    assert logits_of(plain) is None
    dropped = replace(plain, details={"dropped_softmax": True})
    assert logits_of(dropped) == Logits("scores", "scores", Softmax())


def test_numbers_that_somebody_reads_are_no_logits() -> None:
    assert logits_of(classifier(read=True)) is None
    r = rng(5)
    b = GraphBuilder("alone")
    x = b.input("in", (5,))
    assert logits_of(b.finish([b.add("softmax", Softmax(), [x])], {})) is None
    b = GraphBuilder("two")
    x = b.input("in", (12,))
    y = b.add("scores", Dense(), [x], weights(r, (6, 12), 6))
    z = b.add("second", Dense(), [y], weights(r, (6, 6), 6))
    ends = [b.add("softmax", Softmax(), [z]), b.add("again", Dense(), [z], weights(r, (2, 6), 2))]
    assert logits_of(b.finish(ends[:1], {})) is not None
    assert logits_of(b.finish(ends, {})) is None


def test_low_logits_saturate_for_a_finer_step() -> None:
    logits = drawn_logits(2.0, -60.0)
    start = PowerOfTwo(8, 1)
    fmt = finest(logits, start, Softmax())
    # The largest of hardly any sample is above 7.9; of several it is above 3.9.
    assert fmt == PowerOfTwo(8, 4)
    errors = {
        f: np.abs(probabilities(f.dequantize(f.quantize(logits))) - probabilities(logits)).sum()
        for f in (start, fmt)
    }
    assert errors[fmt] < 0.2 * errors[start]


def test_answers_do_not_saturate_and_formats_get_no_coarser() -> None:
    assert finest(drawn_logits(30.0, 0.0), PowerOfTwo(8, 0), Softmax()) == PowerOfTwo(8, 0)
    # A sharper softmax hears of smaller steps, but what saturates is the same.
    flat, sharp = (finest(drawn_logits(2.0, 0.0), PowerOfTwo(8, 2), Softmax(b)) for b in (0.1, 5.0))
    assert flat.frac_bits == sharp.frac_bits == 4


@pytest.mark.parametrize("scheme", ["q7", "q15", "q15x7"])
def test_only_logits_of_8_bits_change(scheme: str) -> None:
    graph = after_passes(toy())
    samples = draw(graph, 60)
    found = search(graph, calibrate(graph, samples), samples, UNIFORM[scheme], EFFORTS["fast"])
    before, after = found.measured.choice, finished(found)
    changed = {n for n in before.activations if before.activations[n] != after.activations[n]}
    logits = logits_of(graph)
    assert logits is not None
    assert changed == ({logits.maker} if scheme == "q7" else set())


def test_more_answers_of_close_classes_are_those_of_float() -> None:
    """Ten classes of which nine compete, and one far below whose logits nobody needs."""
    r = rng(6)
    given = weights(r, (10, 12), 10)
    given["weights"][3], given["bias"][3] = given["weights"][3] * 0.1, -30.0
    answers = {}
    for softmax in (True, False):
        b = GraphBuilder("close")
        x = b.input("in", (12,))
        y = b.add("scores", Dense(), [x], given)
        graph = b.finish([b.add("softmax", Softmax(), [y])] if softmax else [y], {})
        samples = draw(graph, 400)
        ranges = calibrate(graph, samples)
        quant = choose_network(graph, ranges, samples, "q7", "output")
        assert quant.formats()["scores"].dequantize(np.array(-128)) > -30 or not softmax
        answers[softmax] = evaluate(quant, draw(graph, 2000, seed=8), None).agreement
    assert answers[True] > answers[False] + 0.02
