"""3x3 convolutions by Winograd's algorithm: the reference's bits for any geometry, on each core."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcu_export.backends import BACKENDS
from mcu_export.backends.base import Backend
from mcu_export.backends.plain_c import winograd
from mcu_export.build import Target
from mcu_export.exported import Exported
from mcu_export.fit import fit
from mcu_export.graph import Graph
from mcu_export.lower import lower
from mcu_export.ops import RELU, RELU6, UNLIMITED, Add, Conv2D, Padding
from mcu_export.plan import plan
from mcu_export.program import Choices
from mcu_export.quantgraph import QuantGraph
from mcu_export.verify import verify
from tests.backends.affine_layers import random_affine
from tests.backends.test_plain_c import SAME3, TARGETS, Case, Net, cxx_commands
from tests.backends.test_plain_c_int8 import extreme_inputs
from tests.cases.test_cases import exported_of, quantized

PLAIN_C = BACKENDS["plain-c"]
NAME = "plain-c conv2d, Winograd"
ANYWHERE = tuple(c for c in winograd.CONSTRAINTS if c is not winograd.pays)
EAGER = replace(
    PLAIN_C,
    kernels=tuple(
        replace(k, constraints=ANYWHERE) if k.name == NAME else k for k in PLAIN_C.kernels
    ),
)


def _random_cases(count: int) -> list[Case]:
    """Small images with any padding, even and odd sizes and numbers of channels."""
    generator = np.random.default_rng(11)
    cases = []
    while len(cases) < count:
        height, width = (int(size) for size in generator.integers(1, 11, 2))
        pads = tuple(int(pad) for pad in generator.integers(0, 4, 4))
        if height + pads[0] + pads[1] < 3 or width + pads[2] + pads[3] < 3:
            continue
        channels, out = int(generator.choice([8, 8, 16, 24])), int(generator.integers(1, 10))
        limits = (UNLIMITED, RELU, RELU6)[generator.integers(3)]
        padding = (pads[0], pads[1], pads[2], pads[3])
        cases.append(Case((height, width, channels), out, padding=padding, limits=limits))
    return cases


CASES = (
    Case((8, 12, 16), 6, padding=SAME3, limits=RELU),
    Case((9, 13, 8), 7, padding=SAME3, full=True),
    Case((1, 1, 8), 3, padding=SAME3),
    Case((6, 7, 40), 4, padding=(0, 2, 2, 0)),
    *_random_cases(5),
)


def _layers() -> Graph:
    """Every case with an input and an output of its own."""
    net = Net()
    return net.builder.finish([net.conv(net.input(*case.shape), case) for case in CASES], {})


def _chain() -> Graph:
    """One behind the other, so that outputs lie on inputs; a residual block among them."""
    net = Net()
    value = net.input(11, 14, 8)
    for out, padding in ((16, SAME3), (8, (2, 0, 0, 1)), (8, SAME3)):
        value = net.conv(value, Case((0, 0, 0), out, padding=padding, limits=RELU))
    branch = net.conv(value, Case((0, 0, 0), 8, padding=SAME3))
    value = net.add(Add(RELU), [value, branch])
    return net.builder.finish([net.conv(value, Case((0, 0, 0), 5))], {})


GRAPHS = {"layers": _layers, "chain": _chain}


@cache
def _made(name: str, scheme: str) -> QuantGraph:
    graph = GRAPHS[name]()
    return quantized(graph, scheme) if scheme == "q7" else random_affine(graph, 2)


def _exported(
    quant: QuantGraph, folder: Path, backend: Backend = EAGER, level: str = "fastest"
) -> tuple[Exported, list[str]]:
    """The C files, and the kernel of each layer."""
    program = lower(quant, backend, "net", (), Choices(level))
    kernels = [step.kernel for step in program.steps]
    return exported_of(quant, program, plan(program), folder), kernels


RUNS = [
    ("layers", "q7", "gcc"),
    ("layers", "q7", "M4"),
    ("layers", "q7", "M0"),
    ("layers", "int8", "clang"),
    ("layers", "int8", "M3"),
    ("layers", "int8", "M55"),
    ("chain", "q7", "M55"),
    ("chain", "int8", "gcc"),
    ("chain", "int8", "M4 small"),
]


@pytest.mark.parametrize(("name", "scheme", "target"), RUNS)
def test_every_core_gives_the_bits_of_the_reference(
    name: str, scheme: str, target: str, tmp_path: Path
) -> None:
    exported, kernels = _exported(_made(name, scheme), tmp_path)
    assert {kernel for kernel in kernels if "conv2d" in kernel} == {NAME}
    verdict = verify(exported, extreme_inputs(exported.quant), TARGETS[target])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_are_four_times_those_of_a_convolution(
    out: int, channels: int, extreme: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.integers(-128, 128, (out, 3, 3, channels))
    inputs = generator.integers(-128, 128, (4, 4, channels))
    if extreme:
        weights, inputs = (np.where(a < 0, -128, 127) for a in (weights, inputs))
    transform_in = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    transform_out = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    taken = np.einsum("iy,jx,yxc->ijc", transform_in, transform_in, inputs)
    made = winograd.transform(weights)
    assert np.abs(made).max() <= 9 * 128 and np.abs(taken).max() <= winograd.LARGEST
    sums = np.einsum("oijc,ijc->oij", made, taken)
    got = np.einsum("ai,bj,oij->abo", transform_out, transform_out, sums)
    for y in range(2):
        for x in range(2):
            window = inputs[y : y + 3, x : x + 3]
            np.testing.assert_array_equal(got[y, x], 4 * np.einsum("oyxc,yxc->o", weights, window))


def _conv(case: Case, scheme: str = "q7") -> QuantGraph:
    net = Net()
    graph = net.builder.finish([net.conv(net.input(*case.shape), case)], {})
    return quantized(graph, scheme)


def _kernel(quant: QuantGraph, level: str = "fastest") -> str:
    return lower(quant, PLAIN_C, "net", (), Choices(level)).steps[0].kernel


WIDE = Case((8, 8, 16), 16, padding=SAME3)


@pytest.mark.parametrize("scheme", ["q7", "int8"])
def test_only_the_level_fastest_takes_it(scheme: str) -> None:
    quant = _conv(WIDE, scheme)
    assert _kernel(quant) == NAME
    for level in ("speed", "balanced", "size"):
        assert _kernel(quant, level) == "plain-c conv2d, paired weights"


@pytest.mark.parametrize(
    "case",
    [
        replace(WIDE, strides=(2, 2)),
        replace(WIDE, dilation=(2, 2)),
        replace(WIDE, kernel=(3, 1), padding=(0, 0, 0, 0)),
        replace(WIDE, shape=(8, 8, 12)),
        replace(WIDE, shape=(8, 1, 16)),
        Case((3, 3, 16), 16),
    ],
)
def test_other_convolutions_keep_paired_weights(case: Case) -> None:
    assert _kernel(_conv(case)) == "plain-c conv2d, paired weights"


@pytest.mark.parametrize(("channels", "fits"), [(504, True), (520, False)])
def test_it_is_taken_where_no_sum_can_overflow(channels: int, fits: bool, tmp_path: Path) -> None:
    """Corners of 127 give 4 * 16 * 127 for each channel, times inputs of at most 512."""
    assert fits == (channels * 4 * 16 * 127 * 512 < 2**31)
    net = Net()
    weights = np.zeros((2, 3, 3, channels))
    weights[:, ::2, ::2] = 127 / 128
    net.add(Conv2D((1, 1), Padding(*SAME3)), [net.input(3, 5, channels)], weights, 2)
    quant = quantized(net.builder.finish(["conv2d"], {}), "q7")
    exported, kernels = _exported(quant, tmp_path)
    assert (kernels == [NAME]) == fits
    verdict = verify(exported, extreme_inputs(quant), Target(sanitize=True, optimize="-O1"))
    assert verdict.mismatches == 0


def test_less_ram_takes_it_back(tmp_path: Path) -> None:
    quant = _conv(WIDE)
    program, layout = fit(quant, PLAIN_C, "net", (), "fastest")
    assert program.steps[0].kernel == NAME
    most = layout.arena_bytes - 8
    program, layout = fit(quant, PLAIN_C, "net", (), "fastest", most)
    assert program.steps[0].kernel != NAME and layout.arena_bytes <= most
    exported = exported_of(quant, program, layout, tmp_path)
    assert verify(exported, extreme_inputs(quant), Target()).mismatches == 0


def test_it_is_cxx_too(tmp_path: Path) -> None:
    _exported(_conv(WIDE, "int8"), tmp_path)
    for command in cxx_commands(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
