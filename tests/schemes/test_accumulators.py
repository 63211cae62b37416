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


def partial_sums(node: QuantNode, inputs: list[int], channel: int) -> list[int]:
    """Every value that the accumulator of a dense layer takes, in Python's integers."""
    a = node.arithmetic
    acc = int(node.params["bias"][channel]) << a.bias_shift
    acc += (1 << a.out_shift) >> 1
    sums = [acc]
    for weight, x in zip(node.params["weights"][channel].tolist(), inputs, strict=True):
        acc += weight * x
        sums.append(acc)
    return sums


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
    reached = 0
    for channel in range(d["out"]):
        signs = np.sign(node.params["weights"][channel])
        for direction in (1, -1):
            worst = [x.high if s * direction > 0 else x.low for s in signs.tolist()]
            largest = max(map(abs, partial_sums(node, worst, channel)))
            reached = max(reached, largest)
    assert reached <= a.bound
    # With full-scale inputs of both signs the bound misses by what -128 has more than 127, and
    # by twice a rounding constant that works against a negative sum.
    slack = int(np.abs(node.params["weights"]).sum()) * (1 if d["low"] else x.high + 1)
    slack += 2 * ((1 << a.out_shift) >> 1)
    bias_opposes = 2 * int(np.abs(node.params["bias"]).max()) << a.bias_shift
    assert reached >= a.bound - slack - bias_opposes


def test_the_bound_is_exact_where_every_term_has_the_same_sign() -> None:
    fmt = PowerOfTwo(8, 7)
    params = {"weights": np.full((1, 5), -1.0), "bias": np.array([0.75])}
    node = make(Dense(), Value(fmt, -128, 127), params, (7, 7, 5), (1,))
    a = node.arithmetic
    assert (a.bias_shift, a.out_shift) == (7, 9)
    assert partial_sums(node, [-128] * 5, 0)[-1] == a.bound == 5 * 128 * 128 + (96 << 7) + 256


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
    worst = max(
        abs(acc)
        for x in (fmt.lowest, fmt.highest)
        for channel in (0, 1)
        for acc in partial_sums(node, [x] * size, channel)
    )
    assert worst <= node.arithmetic.bound <= INT32
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
