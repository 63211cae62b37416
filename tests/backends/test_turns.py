"""Two layers in turn, some rows at a time: all bits as in the reference, and less memory."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcu_export.backends import BACKENDS
from mcu_export.backends.plain_c.kernels import Window
from mcu_export.backends.plain_c.rows import in_order
from mcu_export.backends.plain_c.trailing import bands, trail_of_bands
from mcu_export.build import Target
from mcu_export.fit import fit
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.lower import lower
from mcu_export.ops import RELU, Add, AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D, Op, Padding
from mcu_export.ops.windows import same_padding_2d
from mcu_export.plan import plan
from mcu_export.program import Choices, Program
from mcu_export.quantgraph import QuantGraph
from mcu_export.turns import find_turns
from mcu_export.verify import random_inputs, verify
from tests.backends.test_overlaps import taps_of, windows
from tests.backends.test_plain_c import TARGETS
from tests.cases.test_cases import exported_of, quantized
from tests.helpers import rng, weights

PLAIN_C = BACKENDS["plain-c"]
MAKERS = ("conv", "pointwise", "depthwise")
READERS = ("depthwise", "conv", "max", "average")
PAIRS = 16
ONE = Padding(1, 1, 1, 1)


def layer(
    generator: np.random.Generator, kind: str, shape: tuple[int, ...], outputs: int
) -> tuple[Op, dict[str, np.ndarray]]:
    """A layer on an image of that shape, with a window that is not larger than it."""
    draw = generator.integers
    kernel = (int(draw(1, min(4, shape[0]) + 1)), int(draw(1, min(4, shape[1]) + 1)))
    strides = (int(draw(1, kernel[0] + 1)), int(draw(1, 3)))
    padding = Padding()
    if draw(3):
        padding = same_padding_2d((shape[0], shape[1]), kernel, strides, (1, 1))
    limits = {"limits": RELU} if draw(2) else {}
    if kind == "pointwise":
        return Conv2D(**limits), weights(generator, (outputs, 1, 1, shape[2]), outputs)
    if kind == "conv":
        op: Op = Conv2D(strides, padding, **limits)
        return op, weights(generator, (outputs, *kernel, shape[2]), outputs)
    if kind == "depthwise":
        op = DepthwiseConv2D(strides, padding, **limits)
        return op, weights(generator, (*kernel, shape[2]), shape[2])
    pool = MaxPool2D if kind == "max" else AveragePool2D
    return pool(kernel, strides, padding), {}


@cache
def network(seed: int) -> Graph:
    """Pairs of layers, each with an input and an output of its own."""
    r, b = rng(seed), GraphBuilder("net")
    outputs = []
    for index in range(PAIRS):
        shape = tuple(int(size) for size in r.integers((3, 2, 1), (12, 10, 9)))
        y = b.input(f"in{index}", shape)
        kinds = MAKERS[index % len(MAKERS)], READERS[index % len(READERS)]
        for place, kind in enumerate(kinds):
            op, params = layer(r, kind, b.shapes[y], int(r.integers(1, 9)))
            y = b.add(f"{kind}{index}_{place}", op, [y], params)
        outputs.append(y)
    return b.finish(outputs, {})


def in_turn(quant: QuantGraph, seed: int) -> Program:
    """The program with all pairs in turn that can, a few rows at a time."""
    steps = lower(quant, PLAIN_C, "net").steps
    r = rng(seed)
    rows = {step.layer: int(r.choice([1, 1, 2, 3, 4])) for step in steps if step.turns}
    program = lower(quant, PLAIN_C, "net", (), Choices(by_rows=rows))
    done = sum(not step.traced for step in program.steps)
    assert done == len(rows) > PAIRS / 2
    return program


def check(scheme: str, seed: int, target: Target, folder: Path) -> None:
    quant = quantized(network(seed), scheme)
    program = in_turn(quant, seed)
    exported = exported_of(quant, program, plan(program), folder)
    verdict = verify(exported, random_inputs(quant, 3), target)
    assert verdict.mismatches == 0, verdict.first_difference


@pytest.mark.parametrize(
    ("scheme", "seed"), [("q7", 1), ("q7", 2), ("int8", 1), ("int8", 3), ("q15", 1), ("q15x7", 2)]
)
def test_rows_in_turn_are_the_same_bits(scheme: str, seed: int, tmp_path: Path) -> None:
    check(scheme, seed, TARGETS["gcc"], tmp_path)


@pytest.mark.parametrize(
    ("scheme", "target"),
    [
        ("q7", "M4"),
        ("int8", "M4"),
        ("q7", "M3"),
        ("int8", "M0"),
        ("q7", "M55"),
        ("int8", "M55"),
        ("q15", "M4"),
        ("int8", "clang"),
    ],
)
def test_on_each_core(scheme: str, target: str, tmp_path: Path) -> None:
    check(scheme, 4, TARGETS[target], tmp_path)


@st.composite
def after(draw: st.DrawFn, first: Window) -> Window:
    """A window over the rows of another layer; only its rows matter."""
    drawn, below = draw(windows()), draw(st.integers(0, 2))
    covered = first.out_height + drawn.pad_top + below - drawn.span_y
    height = covered // drawn.stride_y + 1
    second = replace(drawn, in_height=first.out_height, out_height=height)
    assume(height >= 1 and in_order(second))
    return second


@settings(max_examples=200, deadline=None)
@given(windows(), st.integers(1, 8), st.integers(1, 4), st.integers(0, 20), st.data())
def test_the_output_trails_what_is_still_read(
    first: Window, out_row: int, rows: int, further: int, data: st.DataObject
) -> None:
    parts = list(bands(data.draw(after(first)), rows))
    start = trail_of_bands(first, parts, 1, out_row) - further
    made, written = 0, set[int]()
    for band in parts:
        for pixel in range(made * first.out_width, band.bottom * first.out_width):
            for tap in taps_of(first, pixel):
                assert not written & {tap * first.in_channels + c for c in range(first.in_channels)}
        made = band.bottom
        written |= {start + i for i in range(band.begin * out_row, band.end * out_row)}


@settings(max_examples=200, deadline=None)
@given(windows(), st.integers(1, 4))
def test_a_band_reads_all_rows_that_its_windows_do(w: Window, rows: int) -> None:
    assume(in_order(w))
    parts = list(bands(w, rows))
    assert [band.begin for band in parts] == [0, *(band.end for band in parts[:-1])]
    assert parts[-1].end == w.out_height
    made = 0
    for band in parts:
        assert band.top <= made <= band.bottom  # rows follow each other without a gap
        made = band.bottom
        pixels = range(band.begin * w.out_width, band.end * w.out_width)
        read = {tap // w.in_width for pixel in pixels for tap in taps_of(w, pixel)}
        assert read <= set(range(band.top, band.bottom))


def network_with_pooling() -> Graph:
    """A convolution that gives much, and pooling that leaves little of it; twice."""
    r, b = rng(), GraphBuilder("net")
    y = b.input("in", (16, 16, 3))
    y = b.add("wide", Conv2D(padding=ONE, limits=RELU), [y], weights(r, (32, 3, 3, 3), 32))
    y = b.add("pool", MaxPool2D((2, 2), (2, 2)), [y])
    y = b.add("wide2", Conv2D(padding=ONE, limits=RELU), [y], weights(r, (64, 3, 3, 32), 64))
    y = b.add("pool2", MaxPool2D((3, 3), (2, 2)), [y])
    return b.finish([y], {})


@pytest.mark.parametrize("scheme", ["q7", "int8", "q15"])
def test_layers_take_turns_where_it_saves_much(scheme: str, tmp_path: Path) -> None:
    quant = quantized(network_with_pooling(), scheme)
    whole = plan(lower(quant, PLAIN_C, "net"))
    program, layout = fit(quant, PLAIN_C, "net")
    assert not program.steps[0].traced and not program.steps[2].traced
    assert layout.arena_bytes < 0.7 * whole.arena_bytes
    exported = exported_of(quant, program, layout, tmp_path)
    for target in (TARGETS["gcc"], TARGETS["M4"]):
        assert verify(exported, random_inputs(quant, 3), target).mismatches == 0


def test_with_room_for_whole_layers_none_take_turns() -> None:
    quant = quantized(network_with_pooling(), "q7")
    whole = plan(lower(quant, PLAIN_C, "net")).arena_bytes
    in_turns = fit(quant, PLAIN_C, "net")[1].arena_bytes
    for limit, expected in ((whole, whole), (whole - 8, in_turns), (in_turns, in_turns)):
        assert fit(quant, PLAIN_C, "net", max_ram=limit)[1].arena_bytes == expected


def test_layers_stay_whole_where_that_changes_nothing() -> None:
    r, b = rng(), GraphBuilder("net")
    y = b.input("in", (8, 8, 16))
    for index in range(3):  # all of them in place
        y = b.add(f"dw{index}", DepthwiseConv2D(padding=ONE), [y], weights(r, (3, 3, 16), 16))
        y = b.add(f"pw{index}", Conv2D(), [y], weights(r, (16, 1, 1, 16), 16))
    program = lower(quantized(b.finish([y], {}), "q7"), PLAIN_C, "net")
    assert any(step.turns for step in program.steps)
    assert find_turns(program) == {}


def test_a_value_that_is_read_twice_stays_whole() -> None:
    r, b = rng(), GraphBuilder("net")
    x = b.input("in", (12, 12, 2))
    y = b.add("wide", Conv2D(), [x], weights(r, (16, 1, 1, 2), 16))
    one = b.add("max", MaxPool2D((4, 4), (4, 4)), [y])
    other = b.add("average", AveragePool2D((4, 4), (4, 4)), [y])
    z = b.add("narrow", Conv2D(), [x], weights(r, (16, 1, 1, 2), 16))
    graph = b.finish([b.add("sum", Add(), [one, other]), z], {})
    program = lower(quantized(graph, "q7"), PLAIN_C, "net")
    assert not any(step.turns for step in program.steps)
