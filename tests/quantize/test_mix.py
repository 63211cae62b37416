"""Mixed widths: the front that is measured, what is chosen from it, and the C of a mix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mcu_export.backends import BACKENDS
from mcu_export.calibrate import calibrate
from mcu_export.efforts import EFFORTS
from mcu_export.errors import BudgetError, UsageError, VerificationError
from mcu_export.executors import open_executor
from mcu_export.graph import run_float
from mcu_export.lower import lower
from mcu_export.mix import Narrow, noise_of, quantize_choice
from mcu_export.mix_candidates import SHARES, Estimate, wide_candidates
from mcu_export.mix_costs import Costs, Limits, Point, macs_cost, pareto_front
from mcu_export.mix_parts import for_wide_values
from mcu_export.mix_search import Mixed, search_mix
from mcu_export.plan import plan
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import random_inputs
from mcu_export.schemes.widths import bias_bits
from mcu_export.verify import verify
from tests.backends.test_plain_c import TARGETS
from tests.cases.test_cases import write_c
from tests.helpers import after_passes, draw, toy

EFFORT = replace(EFFORTS["fast"], rounds=1, strengths=(0.0,))
GRAPH = after_passes(toy())
SAMPLES: Mapping[str, np.ndarray] = draw(GRAPH, 24)
RANGES = calibrate(GRAPH, SAMPLES)


def cost_of(quant: QuantGraph) -> Costs:
    program = lower(quant, BACKENDS["plain-c"], "net")
    flash = sum(step.weight_bytes for step in program.steps)
    return Costs(flash, plan(program).arena_bytes, macs_cost(quant))


def mixed(limits: Limits, executor: object = None, labels: np.ndarray | None = None) -> Mixed:
    return search_mix(GRAPH, RANGES, SAMPLES, EFFORT, cost_of, limits, labels, executor)


@cache
def unlimited() -> Mixed:
    return mixed(Limits())


def test_the_front_is_a_front_and_reaches_from_q7_to_q15() -> None:
    front = unlimited().front
    assert list(front) == pareto_front(front)
    assert front[0].wide_values and front[0].wide_layers
    errors = [point.error for point in front]
    assert errors == sorted(errors) and errors[0] < 0.05 * errors[-1]
    assert min(point.costs.flash for point in front) < 0.6 * max(p.costs.flash for p in front)


def test_without_limits_flash_stays_near_that_of_q7() -> None:
    found = unlimited()
    least = min(point.costs.flash for point in found.front)
    assert found.front[found.chosen].costs.flash <= 1.25 * least
    assert found.error <= found.front[found.chosen].error


def test_the_network_has_the_widths_and_costs_of_its_point() -> None:
    found = unlimited()
    point = found.front[found.chosen]
    formats = found.quant.formats()
    assert all(formats[name].bits == 16 for name in point.wide_values)
    for layer in found.quant.nodes:
        bits = {role: fmt.bits for role, fmt in layer.param_formats.items()}
        weights = 16 if layer.name in point.wide_layers else 8
        inputs = formats[layer.node.inputs[0]].bits
        bias = bias_bits(layer.node, weights, inputs)
        assert bits == ({"weights": weights, "bias": bias} if bits else {})
    assert cost_of(found.quant) == point.costs


@pytest.mark.parametrize("field", ["flash", "ram", "macs_cost"])
def test_limits_hold(field: str) -> None:
    costs = [getattr(point.costs, field) for point in unlimited().front]
    limit = (min(costs) + max(costs)) // 2
    found = mixed(Limits(**{field: limit}))
    assert getattr(cost_of(found.quant), field) <= limit


def test_impossible_limits() -> None:
    with pytest.raises(BudgetError, match="no mix of 8 and 16 bits"):
        mixed(Limits(flash=10))
    with pytest.raises(VerificationError, match="every mix within the limits loses"):
        mixed(Limits(drop=-101.0))


def test_a_limit_on_the_drop_takes_the_least_flash_that_keeps_it() -> None:
    float_answers = run_float(GRAPH, SAMPLES)[GRAPH.outputs[0]].reshape(24, -1).argmax(axis=1)
    loose, strict = mixed(Limits(drop=100.0)), mixed(Limits(drop=0.0), labels=float_answers)
    assert loose.front[loose.chosen].costs.flash == min(p.costs.flash for p in loose.front)
    assert cost_of(strict.quant).flash >= cost_of(loose.quant).flash


def test_executors_change_nothing() -> None:
    wanted = unlimited()
    with ThreadPoolExecutor(2) as threads, open_executor("processes:2") as processes:
        for executor in (threads, processes):
            found = mixed(Limits(), executor)
            assert found.front == wanted.front
            assert found.quant.formats() == wanted.quant.formats()


def test_dask_gives_the_same() -> None:
    if os.environ.get("CI") or os.environ.get("MCU_EXPORT_REQUIRE_DATA"):
        import distributed  # noqa: PLC0415
    else:
        distributed = pytest.importorskip("distributed", reason="dask is an optional extra")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        open_executor(f"dask:{cluster.scheduler_address}") as executor,
    ):
        assert mixed(Limits(), executor).front == unlimited().front


@pytest.mark.parametrize("text", ["cluster", "threads:0", "processes:many"])
def test_executors_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match="no such executor"), open_executor(text):
        pass


def test_points_that_are_as_good_in_all_are_left_out() -> None:
    good, dear = Costs(10, 10, 10), Costs(10, 20, 10)
    points = [Point(0.1, dear, (), ()), Point(0.1, good, (), ()), Point(0.2, good, (), ())]
    assert pareto_front(points) == [Point(0.1, good, (), ())]


@pytest.mark.parametrize("target", ["gcc", "clang", "M4", "M3", "M0", "M55"])
def test_every_layer_of_a_mixed_network_is_exact(target: str, tmp_path: Path) -> None:
    quant = mixed_everywhere()
    exported = write_c(quant, "plain-c", tmp_path)
    verdict = verify(exported, random_inputs(quant, 4), TARGETS[target])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


@cache
def mixed_everywhere() -> QuantGraph:
    """A point in the middle of the front: some of each width, and layers that change them."""
    needs = [point.costs.ram for point in unlimited().front]
    quant = mixed(Limits(ram=(min(needs) + max(needs)) // 2)).quant
    widths = {fmt.bits for fmt in quant.formats().values()}
    assert widths == {8, 16}
    return quant


def test_flash_alone_buys_constants_of_16_bits_for_the_noisiest_layers() -> None:
    workshop = for_wide_values(GRAPH, RANGES, SAMPLES, EFFORT)
    parts = workshop.parts
    noise = noise_of(parts, workshop.samples, (), None)
    assert set(noise.layers) == set(parts.layers) and not noise.values
    mixes = wide_candidates(parts, noise)
    assert mixes[0].layers == frozenset(parts.layers)
    sizes = [Estimate(parts).costs(mix).flash for mix in mixes]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes) > 2
    least = Estimate(parts).costs(Narrow(frozenset(parts.values), frozenset(parts.layers))).flash
    for mix, size in zip(mixes, sizes, strict=True):
        assert not mix.values
        assert size <= (1 + max(SHARES)) * least
        for name in mix.layers:
            more = Estimate(parts).costs(Narrow(mix.values, mix.layers - {name})).flash
            assert size < more


def test_the_estimate_of_flash_is_that_of_the_integers() -> None:
    parts = for_wide_values(GRAPH, RANGES, SAMPLES, EFFORT).parts
    for values in (frozenset[str](), frozenset(parts.values)):
        for layers in (frozenset[str](), frozenset(parts.layers)):
            mix = Narrow(values, layers)
            quant = quantize_choice(parts.graph, parts.choice(mix))
            constants = sum(
                array.size * layer.param_formats[role].bits // 8
                for layer in quant.nodes
                for role, array in layer.params.items()
            )
            assert Estimate(parts).costs(mix).flash == constants
