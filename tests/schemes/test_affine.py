"""Boundary tables of the affine schemes; the oracles are exact fractions and real functions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from mcu_export.calibrate import calibrate
from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import run_float
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import RELU, Add, Conv2D, Dense, Logistic, Multiply, Reshape, Softmax
from mcu_export.quantize import quantize_network
from mcu_export.reference import run_reference
from mcu_export.schemes.affine_formats import activation_format
from mcu_export.schemes.fixed_point import (
    exp_of_negative,
    high_mul,
    logistic,
    quantize_multiplier,
    reciprocal,
    rescale,
    tanh,
)
from mcu_export.schemes.formats import Affine, PerChannel

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (1 << 30, 1)),
        (0.5, (1 << 30, 0)),
        (0.75, (3 << 29, 0)),
        (1 - 2**-40, (1 << 30, 1)),
        (2.0**-32, (1 << 30, -31)),
        (2.0**-34, (0, 0)),
    ],
)
def test_quantize_multiplier(factor: float, expected: tuple[int, int]):
    assert quantize_multiplier(factor) == expected


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _half_away(value: Fraction) -> int:
    return int(math.copysign(math.floor(abs(value) + Fraction(1, 2)), value))


@pytest.mark.parametrize("shift", [-31, -9, -1, 0, 1, 3])
def test_rescale_rounds_as_stated(shift: int):
    multipliers = [1 << 30, (1 << 31) - 1, 1518500250]
    values = [0, 1, -1, 2, -2, 3, -3, 127, -128, 65537, -99999, 2**27, -(2**27)]
    for multiplier in multipliers:
        for value in values:
            high = _half_up(Fraction((value << max(shift, 0)) * multiplier, 2**31))
            twice = _half_away(Fraction(high, 2 ** max(-shift, 0)))
            once = _half_up(Fraction(value * multiplier) * Fraction(2) ** (shift - 31))
            narrow = min((multiplier + (1 << 15)) >> 16, 0x7FFF)
            wide = _half_up(Fraction(value * narrow) * Fraction(2) ** (shift - 15))
            got = [
                int(rescale(np.array(value), multiplier, shift, rounding))
                for rounding in ("double", "single", "wide")
            ]
            assert got == [twice, once, wide]


def test_fixed_point_functions_are_close_to_the_real_ones():
    x = np.linspace(0, 15.9, 4001)
    raw = (x * 2**26).astype(np.int64)
    assert np.abs(exp_of_negative(-raw, 5) / 2**31 - np.exp(-raw / 2**26)).max() < 1e-6
    both = np.concatenate([raw * 2, -raw * 2])
    both = both[np.abs(both) < 2**31]
    real = both / 2**27
    assert np.abs(logistic(both) / 2**31 - 1 / (1 + np.exp(-real))).max() < 1e-6
    assert np.abs(tanh(both) / 2**31 - np.tanh(real)).max() < 1e-5
    unit = RANDOM.integers(0, 2**31, 1000)
    assert np.abs(reciprocal(unit) / 2**31 - 1 / (1 + unit / 2**31)).max() < 1e-6


def test_high_mul_saturates_only_for_the_lowest_squared():
    lowest = np.array([-(2**31)])
    assert high_mul(lowest, -(2**31)) == 2**31 - 1


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    [(0, 0, 0), (0, 5, -128), (-5, 0, 127), (-1, 1, 0), (2, 4, -128), (-1e-30, 3, -128)],
)
def test_zero_is_an_integer(low: float, high: float, zero_point: int):
    fmt = activation_format(low, high, 8)
    assert abs(fmt.zero_point - zero_point) <= 1
    assert fmt.dequantize(np.array(fmt.zero_point)) == 0
    for value in (low, high, 0.0):
        real = fmt.dequantize(fmt.quantize(np.array(value)))
        assert abs(real - value) <= fmt.scale * 1.01


def test_16_bits_are_symmetric():
    fmt = activation_format(-3.0, 1.0, 16)
    assert (fmt.zero_point, fmt.quantize(np.array(-3.0))) == (0, -32767)


def test_formats_round_half_away_and_saturate():
    fmt = Affine(8, 0.5, -3)
    assert fmt.quantize(np.array([0.25, -0.25, 1e9, -1e9])).tolist() == [-2, -4, 127, -128]
    weights = PerChannel(8, (1.0, 0.5), 0)
    assert weights.quantize(np.array([[1.5], [1.5]])).ravel().tolist() == [2, 3]
    assert weights.dequantize(np.array([[2], [3]])).ravel().tolist() == [2.0, 1.5]


def _network(bias_scale: float = 0.1):
    def weights(*shape: int):
        bias = RANDOM.standard_normal(shape[0]) * bias_scale
        return {"weights": RANDOM.standard_normal(shape) * 0.3, "bias": bias}

    builder = GraphBuilder("test")
    x = builder.input("in", (8, 7, 3))
    a = builder.add("a", Conv2D(strides=(2, 1), limits=RELU), [x], weights(5, 3, 3, 3))
    b = builder.add("b", Conv2D(strides=(2, 1)), [x], weights(5, 3, 3, 3))
    gate = builder.add("gate", Logistic(), [b])
    y = builder.add("gated", Multiply(), [a, gate])
    y = builder.add("sum", Add(RELU), [y, b])
    y = builder.add("flat", Reshape((3 * 5 * 5,)), [y])
    y = builder.add("dense", Dense(), [y], weights(6, 75))
    y = builder.add("softmax", Softmax(), [y])
    return builder.finish([y], {})


@pytest.mark.parametrize(("scheme", "tolerance"), [("int8", 0.06), ("int16x8", 0.02)])
@pytest.mark.parametrize("calibration", ["mse", "minmax"])
def test_own_quantization_is_close_to_float(scheme: str, tolerance: float, calibration: str):
    graph = _network()
    samples = {"in": RANDOM.standard_normal((60, 8, 7, 3)).astype(np.float32)}
    quant = quantize_network(graph, calibrate(graph, samples), scheme, calibration)
    values = run_float(graph, samples)
    integers = run_reference(quant, {"in": quant.input_formats["in"].quantize(samples["in"])})
    for name, fmt in quant.formats().items():
        error = fmt.dequantize(integers[name]) - values[name]
        assert np.sqrt(np.mean(error**2)) < tolerance * np.abs(values[name]).max(), name
    for node in quant.nodes:
        if "weights" in node.params:
            assert np.abs(node.params["weights"]).max() == 127
            assert node.param_formats["bias"].bits == {"int8": 32, "int16x8": 64}[scheme]


def test_bound_holds_and_is_reached_within_reason():
    graph = _network()
    samples = {"in": RANDOM.standard_normal((20, 8, 7, 3)).astype(np.float32)}
    quant = quantize_network(graph, calibrate(graph, samples), "int8", "minmax")
    conv = quant.nodes[0]
    weights, zero = conv.params["weights"], quant.input_formats["in"].zero_point
    worst = np.where(weights > 0, 127 - zero, -128 - zero) * weights
    reached = np.abs(worst.reshape(5, -1).sum(axis=1) + conv.params["bias"]).max()
    assert reached <= conv.arithmetic.bound <= 1.2 * reached


def test_a_huge_bias_widens_the_weights_scale():
    graph = _network(bias_scale=1e8)
    samples = {"in": RANDOM.standard_normal((20, 8, 7, 3)).astype(np.float32)}
    quant = quantize_network(graph, calibrate(graph, samples), "int8", "minmax")
    assert max(np.abs(node.params["bias"]).max() for node in quant.nodes if node.params) < 2**31


def test_softmax_needs_the_prescribed_format():
    from mcu_export.schemes.affine_functions import softmax  # noqa: PLC0415

    with pytest.raises(UnsupportedLayerError, match="prescribes"):
        softmax(1.0, Affine(8, 0.1, 0), Affine(8, 0.1, 0), 10)
