"""q7 and q15: tables of formats, shifts, and the bound of every accumulator."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export.calibrate import Observer, calibrate
from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Graph, Node
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Pad,
    Padding,
    Softmax,
)
from mcu_export.quantgraph import QuantNode
from mcu_export.quantize import choose_formats, mse_activation, mse_weights, quantize
from mcu_export.reference import run_layer
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import (
    MAKERS,
    Value,
    exp_table,
    frac_bits_for,
    integer_limits,
)
from tests.cases.networks import CASES
from tests.helpers import GraphBuilder, draw, quantized, toy

INT32 = 2**31 - 1
SMALLEST = 5e-324  # subnormal double

# largest, frac bits with 8 bits: 7 - ceil(log2(largest))
FRAC_BITS = [
    (0.0, 7),
    (1.0, 7),
    (math.nextafter(1.0, 2), 6),
    (math.nextafter(1.0, 0), 7),
    (0.5, 8),
    (0.500001, 7),
    (0.26, 8),
    (0.25, 9),
    (127 / 128, 7),
    (1.5, 6),
    (2.0, 6),
    (2.1, 5),
    (64.0, 1),
    (127.0, 0),
    (128.0, 0),
    (129.0, -1),
    (255.0, -1),
    (256.0, -1),
    (257.0, -2),
    (1e9, -23),
    (2.0**100, -93),
    (3.4e38, -121),
    (1e-3, 16),
    (2.0**-126, 133),
    (2.0**-149, 156),
    (SMALLEST, 7 + 1074),
]


@pytest.mark.parametrize("largest, expected", FRAC_BITS)
def test_frac_bits_table(largest: float, expected: int) -> None:
    assert frac_bits_for(largest, 8) == expected
    assert frac_bits_for(largest, 16) == expected + 8


@given(st.floats(min_value=SMALLEST, allow_infinity=False), st.sampled_from([8, 16]))
def test_frac_bits_are_the_most_that_hold_the_value(largest: float, bits: int) -> None:
    frac_bits = frac_bits_for(largest, bits)
    highest = Fraction(2) ** (bits - 1)
    assert Fraction(largest) * Fraction(2) ** frac_bits <= highest
    assert Fraction(largest) * Fraction(2) ** (frac_bits + 1) > highest


# value, frac bits, integer: round half up, saturate
ROUNDING = [
    (0.5, 0, 1),
    (-0.5, 0, 0),
    (1.5, 0, 2),
    (-1.5, 0, -1),
    (2.49999, 0, 2),
    (126.5, 0, 127),
    (127.49, 0, 127),
    (1e30, 0, 127),
    (-128.5, 0, -128),
    (-1e30, 0, -128),
    (1.0, 7, 127),
    (-1.0, 7, -128),
    (300.0, -2, 75),
    (302.0, -2, 76),
    (2.0**-140, 146, 64),
    (1e30, -93, 101),
]


@pytest.mark.parametrize("value, frac_bits, expected", ROUNDING)
def test_rounding_table(value: float, frac_bits: int, expected: int) -> None:
    fmt = PowerOfTwo(8, frac_bits)
    assert int(fmt.quantize(np.array(value))) == expected


@given(st.integers(-(2**15), 2**15 - 1), st.integers(-130, 160), st.sampled_from([8, 16]))
def test_quantize_undoes_dequantize(integer: int, frac_bits: int, bits: int) -> None:
    fmt = PowerOfTwo(bits, frac_bits)
    kept = max(fmt.lowest, min(fmt.highest, integer))
    real = fmt.dequantize(np.array(kept))
    assert float(real) == float(Fraction(kept) / Fraction(2) ** frac_bits)
    assert int(fmt.quantize(real)) == kept


@pytest.mark.parametrize("frac_bits, text", [(3, "Q4.3"), (9, "Q-2.9"), (-2, "Q9.-2")])
def test_format_text(frac_bits: int, text: str) -> None:
    assert PowerOfTwo(8, frac_bits).text() == text


@pytest.mark.parametrize(
    "limits, frac_bits, expected",
    [
        (Limits(), 3, (-128, 127)),
        (RELU, 3, (0, 127)),
        (RELU6, 4, (0, 96)),
        (RELU6, 5, (0, 127)),
        (RELU6, -3, (0, 1)),
        (Limits(-1, 1), 6, (-64, 64)),
        (Limits(-1000, 0.3), 0, (-128, 0)),
    ],
)
def test_limits_as_integers(limits: Limits, frac_bits: int, expected: tuple[int, int]) -> None:
    assert integer_limits(limits, PowerOfTwo(8, frac_bits)) == expected


# -- accumulators -----------------------------------------------------------------------------


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


finite = st.floats(-1e6, 1e6)
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


@pytest.mark.parametrize("scheme", ["q7", "q15"])
@pytest.mark.parametrize("name", CASES)
def test_shifts_and_bounds_of_every_op(name: str, scheme: str) -> None:
    graph = CASES[name]()
    for scale in (1e-20, 1.0, 1e20):
        samples = {key: x * np.float32(scale) for key, x in draw(graph, 8).items()}
        if scale > 1 and name in ("multiply", "exponential_12"):
            continue  # infinite in float, too
        ranges = calibrate(graph, samples)
        quant = quantize(graph, scheme, *choose_formats(graph, ranges, scheme, "mse"))
        for node in quant.nodes:
            assert 0 <= getattr(node.arithmetic, "bias_shift", 0) <= 30
            assert 0 <= getattr(node.arithmetic, "out_shift", 0) <= 30
            assert getattr(node.arithmetic, "bound", 0) <= INT32
            assert node.format.lowest <= node.arithmetic.low <= node.arithmetic.high
            assert node.arithmetic.high <= node.format.highest


# -- other layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("difference", [0, 1, 12, 13, 14, 21, 22, 30, 44, 45, 52, 53, 90])
def test_adding_formats_far_apart(bits: int, difference: int) -> None:
    """Shifts stay in what C can do, and the sum is the nearest to the exact one."""
    coarse, fine = PowerOfTwo(bits, -5), PowerOfTwo(bits, difference - 5)
    inputs = [Value(f, f.lowest, f.highest) for f in (coarse, fine)]
    node = Node("add", Add(), ("a", "b"), (3,))
    made = MAKERS[Add](node, inputs, PowerOfTwo(bits, -6), {})
    a = made.arithmetic
    assert all(-31 <= shift <= 30 for shift in a.shifts)
    assert 0 <= a.out_shift <= 30
    assert a.bound <= INT32
    x = np.array([[coarse.lowest, 5, coarse.highest, -3]])
    y = np.array([[fine.lowest, fine.highest, -7, fine.lowest]])
    got = made.format.dequantize(run_layer(made, [x, y]))
    exact = coarse.dequantize(x) + fine.dequantize(y)
    step = 2.0**-made.format.frac_bits
    lowest, highest = made.format.dequantize(np.array([made.format.lowest, made.format.highest]))
    assert np.abs(got - np.clip(exact, lowest, highest)).max() <= 0.5 * step * (1 + 2.0**-6)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("wanted", [-40, -3, 0, 3, 4, 5, 9, 25, 60])
def test_average_pooling_shifts(bits: int, wanted: int) -> None:
    fmt = PowerOfTwo(bits, 4)
    op = AveragePool2D((3, 5), (1, 1))
    node = Node("n", op, ("x",), (1, 1, 1))
    x = Value(fmt, fmt.lowest, fmt.highest)
    made = MAKERS[AveragePool2D](node, [x], PowerOfTwo(bits, wanted), {})
    a = made.arithmetic
    assert made.format.frac_bits == 4 + a.shift
    worst = 15 * -fmt.lowest * 2 ** max(a.shift, 0) + 15 * 2 ** max(-a.shift, 0) // 2
    assert worst <= a.bound <= INT32


def test_average_pooling_of_a_window_too_large_is_refused() -> None:
    node = Node("n", AveragePool2D((300, 300), (1, 1)), ("x",), (1, 1, 1))
    fmt = PowerOfTwo(16, 4)
    with pytest.raises(UnsupportedLayerError, match="does not fit 32 bits") as caught:
        MAKERS[AveragePool2D](node, [Value(fmt, fmt.lowest, fmt.highest)], fmt, {})
    assert "'n'" in caught.value.where


@pytest.mark.parametrize("op", [MaxPool2D((1, 1), (1, 1)), Clamp(RELU), Pad(Padding())])
def test_layers_that_keep_their_format(op: Clamp) -> None:
    fmt = PowerOfTwo(8, 5)
    made = MAKERS[type(op)](
        Node("n", op, ("x",), (2, 2, 1)), [Value(fmt, -20, 90)], PowerOfTwo(8, 2), {}
    )
    assert made.format == fmt
    low = 0 if isinstance(op, Clamp) else -20
    assert (made.arithmetic.low, made.arithmetic.high) == (low, 90)


def test_padding_brings_zero_into_the_limits() -> None:
    fmt = PowerOfTwo(8, 5)
    node = Node("n", Pad(Padding(1, 1, 1, 1)), ("x",), (4, 4, 1))
    made = MAKERS[Pad](node, [Value(fmt, 7, 90)], fmt, {})
    assert (made.arithmetic.low, made.arithmetic.high) == (0, 90)


@pytest.mark.parametrize("step", [1e-9, 2.0**-7, 0.1, 1.0, 50.0, 1e30])
def test_exp_table(step: float) -> None:
    table = exp_table(step, 256)
    assert table[0] == 2**15
    assert 0 not in table
    for index, value in enumerate(table):
        assert abs(value - 2**15 * math.exp(-step * index)) <= 0.5 + 1e-9
    if len(table) < 256:
        assert 2**15 * math.exp(-step * len(table)) < 0.5


@pytest.mark.parametrize("bits, frac", list(product([8, 16], [-10, 0, 4, 20])))
def test_softmax_is_near_the_real_one(bits: int, frac: int) -> None:
    fmt = PowerOfTwo(bits, frac)
    node = Node("n", Softmax(), ("x",), (10,))
    made = MAKERS[Softmax](node, [Value(fmt, fmt.lowest, fmt.highest)], fmt, {})
    x = np.random.default_rng(4).integers(fmt.lowest, fmt.highest + 1, (50, 10))
    got = made.format.dequantize(run_layer(made, [x]))
    real = fmt.dequantize(x)
    raised = np.exp(real - real.max(axis=1, keepdims=True))
    expected = raised / raised.sum(axis=1, keepdims=True)
    # Half a step, saturation of 1.0, and rounding of the table.
    assert np.abs(got - expected).max() <= 1.0 * 2.0 ** -(bits - 1) + 2.0**-13


# -- choosing formats -------------------------------------------------------------------------


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
    graph = toy()
    zeros = {name: np.zeros_like(x) for name, x in draw(graph).items()}
    quant = quantized(toy_without_bn(), scheme, samples={"x": np.zeros((4, 6), np.float32)})
    assert all(np.isfinite(x).all() for x in zeros.values())
    for node in quant.nodes:
        assert 0 <= node.arithmetic.out_shift <= 30
