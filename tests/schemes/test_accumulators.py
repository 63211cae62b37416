"""No accumulator of q7 and q15 overflows: the bound is reached and never exceeded."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export.calibrate import calibrate
from mcu_export.graph import Node
from mcu_export.ops import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
)
from mcu_export.quantgraph import QuantNode
from mcu_export.quantize import choose_formats, quantize
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import (
    MAKERS,
    Value,
    frac_bits_for,
)
from mcu_export.schemes.widths import UNIFORM
from tests.cases.networks import CASES
from tests.helpers import draw

INT32 = 2**31 - 1


def make(
    op: Dense | Conv2D | DepthwiseConv2D,
    x: Value,
    params: dict[str, np.ndarray],
    frac: tuple[int, int, int],
    shape: tuple[int, ...],
) -> QuantNode:
    """One accumulating layer with wanted frac bits (weights, bias, output)."""
    bits = x.format.bits
    node = Node("n", op, ("x",), shape, params)
    formats = {"weights": PowerOfTwo(bits, frac[0]), "bias": PowerOfTwo(bits, frac[1])}
    return MAKERS[type(op)](node, [x], PowerOfTwo(bits, frac[2]), formats)


def extreme(node: QuantNode, x: Value, channel: int, direction: int) -> int:
    """Largest sum times ``direction`` that any of the terms can have, in Python's integers.

    The inputs are the worst ones, and the terms that point the other way come last: what is summed
    until then is what the accumulator reaches.
    """
    a, acc = node.arithmetic, 0
    terms = [int(node.params["bias"][channel]) << a.bias_shift, (1 << a.out_shift) >> 1]
    for weight in node.params["weights"][channel].tolist():
        terms.append(max((weight * x.low, weight * x.high, 0), key=lambda term: term * direction))
    for term in sorted(terms, key=lambda term: -term * direction):
        if term * direction < 0:
            break
        acc += term
    return acc * direction


dense_layers = st.fixed_dictionaries(
    {
        "bits": st.sampled_from([8, 16]),
        "size": st.integers(1, 40),
        "out": st.integers(1, 3),
        "seed": st.integers(0, 2**20),
        "scale": st.sampled_from([1e-30, 1e-3, 0.3, 1.0, 1e4, 1e20]),
        "bias": st.sampled_from([0.0, 1e-20, 0.1, 100.0, 1e15]),
        "x_frac": st.integers(-40, 60),
        "out_frac": st.integers(-60, 60),
        "extra": st.integers(-5, 6),
        "low": st.booleans(),
    }
)


@given(dense_layers)
def test_the_bound_is_reached_and_never_exceeded(d: dict) -> None:
    r = np.random.default_rng(d["seed"])
    size = (d["out"], d["size"])
    params = {
        "weights": r.choice([-1, 1], size) * r.uniform(0.5, 1, size) * d["scale"],
        "bias": r.choice([-1, 1], d["out"]) * d["bias"],
    }
    x_format = PowerOfTwo(d["bits"], d["x_frac"])
    x = Value(x_format, x_format.lowest if d["low"] else 0, x_format.highest)
    frac = (
        frac_bits_for(d["scale"], d["bits"]) + d["extra"],
        frac_bits_for(d["bias"], d["bits"]),
        d["out_frac"],
    )
    node = make(Dense(), x, params, frac, (d["out"],))
    a = node.arithmetic
    total = x_format.frac_bits + node.param_formats["weights"].frac_bits
    assert a.bias_shift == total - node.param_formats["bias"].frac_bits
    assert a.out_shift == total - node.format.frac_bits
    assert 0 <= a.bias_shift < 31
    assert 0 <= a.out_shift < 31
    assert a.bound <= INT32
    ends = [extreme(node, x, c, side) for c in range(d["out"]) for side in (1, -1)]
    assert max(ends) == a.bound


def test_the_bound_of_terms_of_the_same_sign_and_behind_a_relu() -> None:
    fmt = PowerOfTwo(8, 7)
    params = {"weights": np.full((1, 5), -1.0), "bias": np.array([0.75])}
    node = make(Dense(), Value(fmt, -128, 127), params, (7, 7, 5), (1,))
    a = node.arithmetic
    assert (a.bias_shift, a.out_shift) == (7, 9)
    assert a.bound == 5 * 128 * 128 + (96 << 7) + 256
    mixed = {"weights": np.array([[-1.0, 0.5, -0.5]]), "bias": np.array([-0.75])}
    behind = make(Dense(), Value(fmt, 0, 127), mixed, (7, 7, 5), (1,))
    assert behind.arithmetic.bound == (128 + 64) * 127 + (96 << 7)


@given(st.integers(0, 2**20), st.sampled_from([8, 16]), st.integers(-40, 0), st.integers(0, 40))
def test_sums_of_parts_stay_within_the_bound(seed: int, bits: int, low: int, high: int) -> None:
    """Parts summed apart, in several registers, then together: none is beyond the bound."""
    r, fmt = np.random.default_rng(seed), PowerOfTwo(bits, 4)
    params = {"weights": r.normal(0, 1, (3, 12)), "bias": r.normal(0, 9, 3)}
    node = make(Dense(), Value(fmt, low, high), params, (bits - 4, 4, 4), (3,))
    a, weights = node.arithmetic, node.params["weights"]
    x = r.choice([low, high, int(r.integers(low, high + 1))], (200, 12))
    chosen = r.choice([0, 1], (200, 12))
    parts = (x * chosen) @ weights.T
    bias = (node.params["bias"] << a.bias_shift) * r.choice([0, 1], (200, 1))
    assert np.abs(parts + bias).max() <= a.bound
    assert np.abs(parts).max() <= a.bound


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [1, 100, 4000])
@pytest.mark.parametrize("weight, bias", list(product([0.0, 1e-38, 1.0, 1e38], repeat=2)))
def test_extreme_weights_and_bias_never_overflow(
    bits: int, size: int, weight: float, bias: float
) -> None:
    fmt = PowerOfTwo(bits, 3)
    params = {"weights": np.full((2, size), weight), "bias": np.array([bias, -bias])}
    frac = (frac_bits_for(weight, bits), frac_bits_for(bias, bits), 4)
    node = make(Dense(), Value(fmt, fmt.lowest, fmt.highest), params, frac, (2,))
    value = Value(fmt, fmt.lowest, fmt.highest)
    worst = max(extreme(node, value, channel, side) for side in (1, -1) for channel in (0, 1))
    assert worst == node.arithmetic.bound <= INT32
    assert 0 <= node.arithmetic.bias_shift <= 30
    assert 0 <= node.arithmetic.out_shift <= 30


@pytest.mark.parametrize("scheme", ["q7", "q15", "q15x7"])
@pytest.mark.parametrize("name", CASES)
def test_shifts_and_bounds_of_every_op(name: str, scheme: str) -> None:
    graph = CASES[name]()
    for scale in (1e-20, 1.0, 1e20):
        samples = {key: x * np.float32(scale) for key, x in draw(graph, 8).items()}
        if scale > 1 and name in ("multiply", "multiply_pixels", "exponential_12"):
            continue  # infinite in float, too
        ranges = calibrate(graph, samples)
        quant = quantize(graph, scheme, *choose_formats(graph, ranges, UNIFORM[scheme], "mse"))
        for node in quant.nodes:
            assert 0 <= getattr(node.arithmetic, "bias_shift", 0) <= 30
            assert 0 <= getattr(node.arithmetic, "out_shift", 0) <= 30
            assert getattr(node.arithmetic, "bound", 0) <= INT32
            assert node.format.lowest <= node.arithmetic.low <= node.arithmetic.high
            assert node.arithmetic.high <= node.format.highest
