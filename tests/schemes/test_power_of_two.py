"""q7 and q15: tables of formats, and the arithmetic of layers without weights."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Node
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Clamp,
    Limits,
    MaxPool2D,
    Pad,
    Padding,
    Softmax,
)
from mcu_export.reference import run_layer
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import (
    MAKERS,
    Value,
    exp_table,
    frac_bits_for,
    integer_limits,
)

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
