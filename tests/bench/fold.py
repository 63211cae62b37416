"""``python -m tests.bench.fold``: folding against a loop over elements."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from mcu_export.fold.base import scaled_weights
from mcu_export.ops import BatchNorm

# Convolutions of cnn2 and ds_cnn: kernel height and width, channels in and out.
SHAPES = ((10, 4, 1, 28), (10, 4, 28, 30), (1, 1, 16, 128), (10, 4, 1, 64), (1, 1, 64, 64))
REPEATS = 20
TARGET = 100


def folded(weights: np.ndarray, bias: np.ndarray, norm: dict[str, np.ndarray]) -> list[np.ndarray]:
    """As ``mcu-export fold`` does it."""
    scale, offset = BatchNorm(0.001).scale_and_offset(norm)
    scaled = scaled_weights(None, weights, scale).astype(np.float32)
    return [scaled, (bias * scale + offset).astype(np.float32)]


def folded_by_loop(
    weights: np.ndarray, bias: np.ndarray, norm: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """Each weight by itself."""
    new_weights, new_bias = np.zeros_like(weights), np.zeros_like(bias)
    for channel in range(weights.shape[3]):
        factor = norm["gamma"][channel] / np.sqrt(norm["variance"][channel] + 0.001)
        for row in range(weights.shape[0]):
            for column in range(weights.shape[1]):
                for depth in range(weights.shape[2]):
                    old = weights[row, column, depth, channel]
                    new_weights[row, column, depth, channel] = old * factor
        shifted = bias[channel] - norm["mean"][channel]
        new_bias[channel] = shifted * factor + norm["beta"][channel]
    return [new_weights, new_bias]


def seconds(function: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def ratio() -> float:
    """How many times as fast as the loop all layers together are folded."""
    random = np.random.default_rng(0)
    fast = slow = 0.0
    for shape in SHAPES:
        weights = random.standard_normal(shape).astype(np.float32)
        roles = ("gamma", "beta", "mean", "variance")
        norm = {role: random.uniform(0.5, 2, shape[3]) for role in roles}
        bias = random.standard_normal(shape[3])
        for one, other in zip(
            folded(weights, bias, norm), folded_by_loop(weights, bias, norm), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        fast += seconds(partial(folded, weights, bias, norm), REPEATS)
        slow += seconds(partial(folded_by_loop, weights, bias, norm), 2)
    return slow / fast


if __name__ == "__main__":
    measured = ratio()
    print(f"folding is {measured:.0f} times as fast as the loop over elements (at least {TARGET})")
    raise SystemExit(measured < TARGET)
