"""Formats from what was observed: min-max and least squares."""

from __future__ import annotations

import numpy as np
import pytest

from mcu_export.calibrate import Observer
from mcu_export.graph import Graph
from mcu_export.ops import (
    Dense,
)
from mcu_export.quantize import mse_activation, mse_weights
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import (
    frac_bits_for,
)
from tests.helpers import GraphBuilder, quantized


def seen(values: np.ndarray) -> Observer:
    observer = Observer()
    observer.update(values)
    return observer


def test_minmax_never_saturates_by_more_than_one_step() -> None:
    quant = quantized(toy_without_bn(), "q7", "minmax")
    for node in quant.nodes:
        for role, fmt in node.param_formats.items():
            real = np.abs(node.node.params[role]).max()
            assert real <= 2.0 ** (7 - fmt.frac_bits)


def toy_without_bn() -> Graph:
    b = GraphBuilder("f")
    x = b.input("x", (6,))
    return b.finish(
        [b.add("d", Dense(), [x], {"weights": np.eye(3, 6) * 0.7, "bias": np.ones(3) * 3})], {}
    )


def test_least_squares_sacrifices_an_outlier() -> None:
    values = np.concatenate([np.random.default_rng(1).normal(0, 0.1, 200_000), [1.9]])
    assert frac_bits_for(1.9, 8) == 6
    assert mse_activation(seen(values).result(), 8) > 6
    assert mse_weights(values, 8) > 6


@pytest.mark.parametrize("spread", [1e-38, 1e-3, 1.0, 1e5, 1e30])
@pytest.mark.parametrize("seed", range(3))
def test_least_squares_of_activations_is_the_measured_optimum(seed: int, spread: float) -> None:
    r = np.random.default_rng(seed)
    values = (r.standard_t(3, 50_000) * spread).astype(np.float32)
    chosen = mse_activation(seen(values).result(), 8)

    def error(frac_bits: int) -> float:
        fmt = PowerOfTwo(8, frac_bits)
        return float(np.square((fmt.dequantize(fmt.quantize(values)) - values) / spread).sum())

    first = frac_bits_for(float(np.abs(values).max()), 8)
    best = min(error(f) for f in range(first, first + 7))
    assert error(chosen) <= best * 1.1


@pytest.mark.parametrize("bits", [8, 16])
def test_all_zero_tensors_have_a_format(bits: int) -> None:
    observer = seen(np.zeros(10))
    assert mse_activation(observer.result(), bits) == bits - 1
    assert mse_weights(np.zeros((3, 3)), bits) == bits - 1


@pytest.mark.parametrize("scheme", ["q7", "q15"])
def test_a_network_of_zeros_exports(scheme: str) -> None:
    quant = quantized(toy_without_bn(), scheme, samples={"x": np.zeros((4, 6), np.float32)})
    for node in quant.nodes:
        assert 0 <= node.arithmetic.out_shift <= 30
