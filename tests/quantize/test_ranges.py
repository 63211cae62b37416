"""Ranges by percentile and KL divergence."""

from __future__ import annotations

import numpy as np
import pytest

from mcu_export.calibrate import Observed, Observer
from mcu_export.quantize import CALIBRATIONS, minmax_activation
from mcu_export.range_methods import kl_limit, percentile_limit
from mcu_export.schemes.affine_formats import RANGES
from tests.helpers import rng


def observed(values: np.ndarray) -> Observed:
    observer = Observer()
    observer.update(values.astype(np.float32))
    return observer.result()


def test_percentile_leaves_out_what_is_rare() -> None:
    values = np.concatenate([rng().uniform(-1, 1, 200_000), [60.0]])
    assert percentile_limit(observed(values)) == pytest.approx(1.0, abs=0.05)
    assert percentile_limit(observed(np.array([3.0, -3.0]))) == 3.0
    assert percentile_limit(observed(np.zeros(5))) == 0.0


def test_kl_keeps_what_fills_its_range_and_cuts_a_tail() -> None:
    limits = [64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0]
    even = observed(rng().uniform(-64, 64, 50_000))
    assert kl_limit(even, 8, limits) == 64.0
    tail = observed(np.concatenate([rng().normal(0, 0.5, 100_000), [63.0]]))
    assert kl_limit(tail, 8, limits) <= 4.0


@pytest.mark.parametrize("method", sorted(CALIBRATIONS))
def test_every_method_is_defined_everywhere(method: str) -> None:
    choose, _ = CALIBRATIONS[method]
    for values in (np.zeros(4), np.array([1e-20]), np.array([1.0]), rng().normal(0, 1e9, 500)):
        seen = observed(values)
        for bits in (8, 16):
            assert choose(seen, bits) >= minmax_activation(seen, bits)
            low, high = RANGES[method](seen, bits)
            assert seen.low <= low <= high <= seen.high
