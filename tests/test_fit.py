"""--max-ram takes the fastest kernels that fit; --optimize tells the compiler."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from mcu_export.backends import BACKENDS
from mcu_export.budgets import Budgets, check_model
from mcu_export.build import Target
from mcu_export.errors import BudgetError, UsageError
from mcu_export.fit import fit
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.lower import lower
from mcu_export.ops import Conv2D, DepthwiseConv2D, Padding
from mcu_export.pipeline import Options, check_options, golden_of
from mcu_export.plan import plan
from mcu_export.program import LEVELS, Choices, Layout, Program
from mcu_export.quantgraph import QuantGraph
from mcu_export.render import render
from mcu_export.report.manifest import manifest
from mcu_export.verify import random_inputs, verify
from tests.cases.test_cases import exported_of, quantized
from tests.helpers import draw, rng, weights

PLAIN_C = BACKENDS["plain-c"]


def network() -> Graph:
    """A wide convolution, whose scratch memory counts, and a depthwise one on a large image."""
    r, b = rng(), GraphBuilder("net")
    y = b.input("in", (12, 20, 4))
    y = b.add("dw", DepthwiseConv2D(padding=Padding(1, 1, 1, 1)), [y], weights(r, (3, 3, 4), 4))
    y = b.add("narrow", Conv2D((2, 2)), [y], weights(r, (4, 5, 5, 4), 4))
    y = b.add("wide", Conv2D(), [y], weights(r, (6, 4, 8, 4), 6))
    return b.finish([y], {})


@pytest.fixture(scope="module", name="quant")
def _quant() -> QuantGraph:
    return quantized(network(), "q7")


def every_combination(quant: QuantGraph) -> list[tuple[int, int]]:
    """Arena and estimated instructions of all choices of kernels."""
    alternatives = {s.layer: s.alternatives for s in lower(quant, PLAIN_C, "net").steps}
    made = []
    for slower in product(*(range(count) for count in alternatives.values())):
        choices = Choices(slower=dict(zip(alternatives, slower, strict=True)))
        program = lower(quant, PLAIN_C, "net", (), choices)
        made.append((plan(program).arena_bytes, instructions(program)))
    return made


def instructions(program: Program) -> int:
    return sum(step.instructions for step in program.steps)


def test_the_fastest_combination_that_fits_is_taken(quant: QuantGraph) -> None:
    made = every_combination(quant)
    arenas = sorted({arena for arena, _ in made})
    assert len(arenas) > 2
    for limit in arenas:
        program, layout = fit(quant, PLAIN_C, "net", max_ram=limit)
        assert layout.arena_bytes <= limit
        assert instructions(program) == min(cost for arena, cost in made if arena <= limit)


def test_without_a_limit_all_kernels_are_the_fastest(quant: QuantGraph) -> None:
    program, layout = fit(quant, PLAIN_C, "net")
    assert instructions(program) == min(cost for _, cost in every_combination(quant))
    assert fit(quant, PLAIN_C, "net", max_ram=layout.arena_bytes)[1] == layout


def refused(quant: QuantGraph, program: Program, layout: Layout, limit: int) -> BudgetError:
    with pytest.raises(BudgetError) as caught:
        check_model(manifest(quant, program, layout, {}, {}), Budgets(ram=limit))
    return caught.value


def test_where_none_fits_the_smallest_is_refused(quant: QuantGraph) -> None:
    smallest = min(arena for arena, _ in every_combination(quant))
    program, layout = fit(quant, PLAIN_C, "net", max_ram=smallest - 8)
    assert layout.arena_bytes == smallest
    error = refused(quant, program, layout, smallest - 8)
    assert error.exit_code == 6
    assert f"with the smallest kernels, {smallest - 8} are allowed" in error.what
    assert "dw" in error.where


@pytest.mark.parametrize("scheme", ["q7", "int8"])
def test_slower_kernels_give_the_same_bits(scheme: str, tmp_path: Path) -> None:
    quant = quantized(network(), scheme)
    program, layout = fit(quant, PLAIN_C, "net", max_ram=1)
    assert {step.kernel for step in program.steps} == {
        "plain-c conv2d",
        "plain-c depthwise_conv2d, by small planes",
    }
    assert layout.arena_bytes < fit(quant, PLAIN_C, "net")[1].arena_bytes
    exported = exported_of(quant, program, layout, tmp_path)
    for target in (Target(sanitize=True), Target("mps2-an386", optimize="-Os")):
        assert verify(exported, random_inputs(quant, 4), target).mismatches == 0


@pytest.mark.parametrize("level", LEVELS)
def test_the_c_file_asks_for_the_level(level: str, quant: QuantGraph) -> None:
    program, layout = fit(quant, PLAIN_C, "net", optimize=level)
    golden = golden_of(quant, draw(quant.graph, 2), 2)
    text = render(program, layout, golden, "t").files["net.c"]
    assert f'#pragma GCC optimize("{LEVELS[level]}")' in text


def test_unknown_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="'fast' is unknown"):
        check_options(Options(optimize="fast"), Path("net.keras"))
