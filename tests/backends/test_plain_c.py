"""The kernels of plain-c over many shapes, on each core: all bits as in the reference.

Many layers share one program, each with an input and an output of its own; chains of layers are
there for the overlaps in the arena.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mcu_export.build import Target
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import (
    RELU,
    RELU6,
    UNLIMITED,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Op,
    Padding,
    Softmax,
)
from mcu_export.ops.windows import same_padding_2d
from mcu_export.quantgraph import QuantGraph
from mcu_export.verify import random_inputs, verify
from tests.cases.test_cases import quantized, write_c

TARGETS = {
    "gcc": Target(compiler="gcc", sanitize=True, optimize="-O0"),
    "clang": Target(compiler="clang", sanitize=True, optimize="-O0"),
    "gcc fast": Target(compiler="gcc"),
    "M4": Target("mps2-an386"),
    "M4 small": Target("mps2-an386", optimize="-Os"),
    "M3": Target("mps2-an385"),
    "M0": Target("mps2-an385", core="cortex-m0"),
    "M55": Target("mps3-an547"),
}


@dataclass(frozen=True)
class Case:
    """A layer on an image; ``full`` weights reach -128, also where two channels share an int16."""

    shape: tuple[int, int, int]
    out: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    limits: Limits = UNLIMITED
    full: bool = False


SAME3 = (1, 1, 1, 1)
CONVS = (
    Case((9, 7, 1), 5, (10, 4), (2, 2), (5, 4, 1, 2), limits=RELU),
    Case((8, 9, 3), 8, (3, 3), (2, 2), (0, 1, 1, 1), limits=RELU),
    Case((6, 5, 2), 3, (3, 2), (1, 3), (2, 0, 0, 1)),
    Case((7, 5, 4), 6, (3, 3), (1, 1), SAME3, limits=RELU6),
    Case((7, 5, 4), 7, (3, 3), (1, 1), SAME3, full=True),
    Case((5, 6, 5), 4, (1, 3), (3, 1), (0, 0, 2, 2)),
    Case((8, 8, 4), 4, (3, 3), (1, 2), (2, 2, 2, 2), (2, 2), RELU),
    Case((7, 9, 3), 4, (2, 3), (1, 1), (0, 1, 3, 1), (3, 2), full=True),
    Case((5, 5, 16), 9, (1, 1), limits=RELU),
    Case((3, 5, 20), 12, (1, 1), limits=RELU, full=True),
    Case((4, 3, 6), 8, (1, 1)),
    Case((5, 5, 8), 16, (1, 1), (2, 2)),
    Case((1, 1, 12), 3, (1, 1)),
    Case((1, 1, 18), 5, (1, 1), full=True),
    Case((4, 4, 36), 2, (3, 3), (1, 1), SAME3),
    Case((3, 3, 4), 2, (5, 5), (1, 1), (4, 4, 6, 6)),
)
DEPTHWISE = (
    Case((9, 7, 5), 5, padding=SAME3, limits=RELU),
    Case((9, 8, 4), 4, padding=SAME3),
    Case((9, 8, 4), 4, strides=(2, 2), padding=(0, 1, 0, 1), limits=RELU6),
    Case((7, 9, 3), 3, strides=(2, 2), padding=SAME3),
    Case((5, 5, 6), 6, strides=(1, 2), padding=SAME3),
    Case((8, 7, 4), 4, strides=(3, 3)),
    Case((6, 6, 2), 6, padding=SAME3, limits=RELU),
    Case((8, 5, 3), 3, (5, 2), (2, 1), (2, 1, 0, 1)),
    Case((9, 9, 2), 2, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    Case((4, 4, 3), 3, (1, 1), (2, 2)),
    Case((3, 2, 2), 2, (3, 3), (1, 1), (2, 2, 2, 2)),
    Case((40, 30, 2), 2, padding=SAME3, limits=RELU),
    Case((41, 33, 2), 2, strides=(2, 2), padding=SAME3),
    Case((60, 40, 1), 1, (2, 2), (3, 3)),
)
DENSES = (
    (16, 8, False),
    (21, 5, True),
    (40, 12, True),
    (7, 1, False),
    (34, 6, False),
    (3, 2, True),
)
POOLS = (
    Case((6, 7, 5), 5, (2, 2), (2, 2)),
    Case((5, 5, 4), 4, (3, 3), (2, 2), SAME3),
    Case((4, 6, 3), 3, (4, 6)),
)


def _weights(generator: np.random.Generator, shape: tuple[int, ...], full: bool) -> np.ndarray:
    """Weights within -0.9 .. 0.9; ``full``: of the first two rows, the first tap is -0.5 and -1."""
    weights = generator.uniform(-0.9, 0.9, shape)
    if full and shape[0] > 1:
        weights.reshape(shape[0], -1)[:2, 0] = (-0.5, -1.0)
    return weights


class Net:
    """A graph that grows; names are numbered."""

    def __init__(self) -> None:
        self.builder = GraphBuilder("cases")
        self.generator = np.random.default_rng(3)
        self.outputs: list[str] = []

    def input(self, *shape: int) -> str:
        return self.builder.input("in", shape)

    def add(
        self, op: Op, inputs: list[str], weights: np.ndarray | None = None, out: int = 0
    ) -> str:
        bias = self.generator.uniform(-0.5, 0.5, out)
        params = None if weights is None else {"weights": weights, "bias": bias}
        return self.builder.add(op.kind, op, inputs, params)

    def conv(self, value: str, case: Case) -> str:
        weights = _weights(
            self.generator, (case.out, *case.kernel, self.builder.shapes[value][2]), case.full
        )
        op = Conv2D(case.strides, Padding(*case.padding), case.dilation, case.limits)
        return self.add(op, [value], weights, case.out)

    def depthwise(self, value: str, case: Case) -> str:
        weights = _weights(self.generator, (*case.kernel, case.out), False)
        op = DepthwiseConv2D(case.strides, Padding(*case.padding), case.dilation, case.limits)
        return self.add(op, [value], weights, case.out)

    def dense(self, value: str, out: int, full: bool, limits: Limits = UNLIMITED) -> str:
        weights = _weights(self.generator, (out, self.builder.shapes[value][-1]), full)
        return self.add(Dense(limits), [value], weights, out)


def _layers() -> Graph:
    """Every case with an input and an output of its own."""
    net = Net()
    found = [net.conv(net.input(*case.shape), case) for case in CONVS]
    found += [net.depthwise(net.input(*case.shape), case) for case in DEPTHWISE]
    found += [net.dense(net.input(size), out, full) for size, out, full in DENSES]
    found += [net.dense(net.input(3, 10), 6, True, RELU)]
    for case in POOLS:
        for op in (AveragePool2D, MaxPool2D):
            pool = op(case.kernel, case.strides, Padding(*case.padding), case.limits)
            found.append(net.add(pool, [net.input(*case.shape)]))
    return net.builder.finish(found, {})


def _same(net: Net, value: str, out: int, size: int, stride: int) -> Case:
    shape, kernel, strides = net.builder.shapes[value], (size, size), (stride, stride)
    pad = same_padding_2d(shape, kernel, strides, (1, 1))
    padding = (pad.top, pad.bottom, pad.left, pad.right)
    return Case(shape, out, kernel, strides, padding, limits=RELU)


def _chain() -> Graph:
    """Layers one after the other, so that outputs lie on inputs; a residual block among them."""
    net = Net()
    value = net.conv(net.input(21, 17, 3), _same(net, "in", 8, 3, 1))
    value = net.conv(value, _same(net, value, 8, 3, 1))
    value = net.depthwise(value, _same(net, value, 8, 3, 1))
    value = net.conv(value, Case((), 16, (1, 1), limits=RELU))  # type: ignore[arg-type]
    value = net.depthwise(value, _same(net, value, 16, 3, 2))
    value = net.conv(value, Case((), 12, (1, 1), full=True))  # type: ignore[arg-type]
    branch = net.conv(value, _same(net, value, 12, 3, 1))
    value = net.add(Add(RELU), [value, branch])
    value = net.add(MaxPool2D((2, 2), (2, 2)), [value])
    value = net.conv(value, _same(net, value, 9, 5, 2))
    value = net.add(AveragePool2D((3, 2), (3, 2)), [value])
    return net.builder.finish([net.add(Softmax(), [value])], {})


GRAPHS = {"layers": _layers, "chain": _chain}


@cache
def _quantized(name: str, scheme: str) -> QuantGraph:
    return quantized(GRAPHS[name](), scheme)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_core_gives_the_bits_of_the_reference(name: str, target: str, tmp_path: Path) -> None:
    exported = write_c(_quantized(name, "q7"), "plain-c", tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 3), TARGETS[target])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


SIXTEEN_BITS = [("q15", "clang"), ("q15", "M4"), ("q15x7", "M0"), ("q15x7", "M4"), ("q15x7", "M55")]
SIXTEEN_BITS += [("int16x8", "M4"), ("int16x8", "M55")]
OTHER_WIDTHS = [*SIXTEEN_BITS, ("int4", "clang"), ("int4", "M3"), ("int4", "M4"), ("int4", "M55")]


@pytest.mark.parametrize(("scheme", "target"), OTHER_WIDTHS)
@pytest.mark.parametrize("name", GRAPHS)
def test_other_widths(name: str, scheme: str, target: str, tmp_path: Path) -> None:
    exported = write_c(_quantized(name, scheme), "plain-c", tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 3), TARGETS[target])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


def test_the_cases_reach_the_fast_kernels_and_both_ways_to_store_weights(tmp_path: Path) -> None:
    write_c(_quantized("layers", "q7"), "plain-c", tmp_path)
    code = (tmp_path / "net.c").read_text()
    for helper in ("dot2", "dot2_coded", "dot1", "dot1_coded", "dot_input", "dot_input_coded"):
        assert f"net_{helper}(" in code
    assert "as int16 elements w[2p] + 256 * w[2p+1]" in (tmp_path / "net_weights.h").read_text()


def cxx_commands(folder: Path) -> list[list[str]]:
    """Compile the C file in ``folder`` as C++ with every warning on, by each compiler."""
    flags = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-O2", "-c"]
    compilers = (
        ["g++"],
        ["clang++"],
        ["arm-none-eabi-g++", "-mcpu=cortex-m4"],
        ["arm-none-eabi-g++", "-mcpu=cortex-m0"],
        ["arm-none-eabi-g++", "-mcpu=cortex-m55", "-mfloat-abi=hard"],
    )
    source = [str(folder / "net.c"), "-o", str(folder / "net.o")]
    return [[*compiler, "-x", "c++", "-std=c++11", *flags, *source] for compiler in compilers]


def test_it_is_cxx_too(tmp_path: Path) -> None:
    """The trace hook and the kernels compile as C++ with every warning on."""
    write_c(_quantized("chain", "q7"), "plain-c", tmp_path)
    for command in cxx_commands(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
