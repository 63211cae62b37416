"""Calibration: streaming is the same as one batch, and the histogram is exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export.calibrate import BINS, Observed, Observer, batches, calibrate
from mcu_export.errors import SamplesError
from mcu_export.graph import run_float
from mcu_export.ops import RELU, Clamp, Multiply
from tests.helpers import GraphBuilder, draw, toy


def observe(parts: list[np.ndarray]) -> Observed:
    observer = Observer()
    for part in parts:
        observer.update(part)
    return observer.result()


def same(first: Observed, second: Observed) -> bool:
    return (first.low, first.high, first.zeros) == (second.low, second.high, second.zeros) and (
        first.exponent == second.exponent and np.array_equal(first.counts, second.counts)
    )


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(floats, max_size=60), st.integers(1, 7))
def test_streaming_is_one_batch(values: list[float], size: int) -> None:
    x = np.array(values, np.float32)
    parts = [x[i : i + size] for i in range(0, len(x), size)]
    assert same(observe(parts), observe([x]))
    assert same(observe(parts[::-1]), observe([x]))


@given(st.lists(floats, min_size=1, max_size=60))
def test_the_histogram_counts_every_value_in_its_bin(values: list[float]) -> None:
    x = np.array(values, np.float32)
    seen = observe([x])
    exact = [float(v) for v in x]
    used = [v for v in exact if v != 0]
    assert seen.zeros == len(exact) - len(used)
    assert seen.counts.sum() == len(used)
    assert (seen.low, seen.high) == (min([0.0, *exact]), max([0.0, *exact]))
    if used:
        assert 2.0 ** (seen.exponent - 1) <= seen.largest < 2.0**seen.exponent
        half = 2.0**seen.exponent / BINS
        for value in used:
            center = seen.centers()[np.argmin(np.abs(seen.centers() - value))]
            assert abs(center - value) <= half
            assert seen.counts[np.abs(seen.centers() - value) <= half * 1.0001].sum() >= 1


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1.0, 3e38])
def test_tiny_and_huge_values_lie_in_both_halves(scale: float) -> None:
    x = np.array([scale, -scale, scale], np.float32)
    seen = observe([x])
    assert seen.counts[: BINS // 2].sum() == 1
    assert seen.counts[BINS // 2 :].sum() == 2


def test_widening_merges_pairs_of_bins() -> None:
    seen = observe([np.array([0.9, 0.1, -0.4]), np.array([1000.0])])
    assert seen.exponent == 10
    assert seen.counts.sum() == 4
    assert same(seen, observe([np.array([0.9, 0.1, -0.4, 1000.0])]))


def test_nothing_but_zeros() -> None:
    seen = observe([np.zeros(5)])
    assert (seen.low, seen.high, seen.largest, seen.zeros) == (0.0, 0.0, 0.0, 5)


def test_batches_cover_all_samples_in_order() -> None:
    graph = toy()
    samples = draw(graph, 150)
    parts = list(batches(graph, samples))
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([p["in"] for p in parts]), samples["in"])


def test_a_batch_is_never_empty_however_large_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcu_export.calibrate.BATCH_ELEMENTS", 1)
    parts = list(batches(toy(), draw(toy(), 3)))
    assert [len(part["in"]) for part in parts] == [1, 1, 1]


def test_calibrate_observes_every_value() -> None:
    graph = toy()
    samples = draw(graph, 100)
    seen: list[int] = []
    ranges = calibrate(graph, samples, seen.append)
    assert set(ranges) == set(graph.shapes())
    assert seen == [64, 100]
    values = run_float(graph, samples)
    for name, observed in ranges.items():
        assert observed.high == pytest.approx(max(0.0, float(values[name].max())), rel=1e-5)
        assert observed.low == pytest.approx(min(0.0, float(values[name].min())), rel=1e-5)
        assert observed.counts.sum() + observed.zeros == values[name].size


def test_a_network_that_overflows_is_an_error_of_the_samples() -> None:
    b = GraphBuilder("f")
    x = b.input("x", (2,))
    graph = b.finish([b.add("square", Multiply(), [b.add("r", Clamp(RELU), [x])] * 2)], {})
    samples = {"x": np.array([[1, 2], [3, 1e30]], np.float32)}
    with pytest.raises(SamplesError, match="NaN or infinity at 'square'") as caught:
        calibrate(graph, samples)
    assert caught.value.where == "samples 0 to 1"
