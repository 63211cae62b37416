"""The search over formats: the simulator it measures with, and what it promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcu_export.calibrate import calibrate
from mcu_export.choose import _to_round, choose_network, search
from mcu_export.descent import change_count, descend
from mcu_export.efforts import CHEAP, EFFORTS, FITTED, rounding_count, sample_count
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import RELU, Dense, Softmax
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.rounding import learn_rounding
from mcu_export.runs import FIRST, LEAST_FIRST
from mcu_export.schemes.affine_formats import RANGES
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import ACCUMULATOR_MAX
from mcu_export.schemes.widths import UNIFORM
from mcu_export.search import Choice, Meter, layer_work
from mcu_export.simulate import quantize_float32, simulate_layer
from tests.helpers import after_passes, draw, quantized, rng, toy, weights


def start_of(graph: Graph, samples: dict[str, np.ndarray], calibration: str = "mse") -> Choice:
    return Choice(*choose_formats(graph, calibrate(graph, samples), UNIFORM["q7"], calibration))


def simulated(quant: QuantGraph, samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = {n: quantize_float32(x, quant.input_formats[n]) for n, x in samples.items()}
    for node in quant.nodes:
        formats = [quant.formats()[name] for name in node.node.inputs]
        values[node.name] = simulate_layer(node, [values[n] for n in node.node.inputs], formats)
    return values


def test_the_simulator_gives_the_integers_of_the_reference() -> None:
    graph = after_passes(toy())
    quant, samples = quantized(graph), draw(graph, 30, seed=9)
    exact = run_reference(quant, quantize_inputs(quant, samples))
    values = simulated(quant, samples)
    for name, expected in exact.items():
        if name != "softmax":
            assert np.array_equal(values[name], expected), name


def test_descent_never_ends_worse_and_measures_incrementally() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 40)
    meter = Meter(graph, samples)
    for calibration in ("mse", "minmax"):
        start = meter.measure(start_of(graph, samples, calibration))
        ended = descend(meter, start.choice, 3, ("weights", "bias"))
        assert ended.error <= start.error
        afresh = Meter(graph, samples).measure(ended.choice)
        assert np.array_equal(afresh.errors, ended.errors)


def test_descent_and_rounding_end_when_their_work_is_done() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 20)
    meter = Meter(graph, samples)
    start = meter.measure(start_of(graph, samples, "minmax"))
    whole = meter.work
    shapes = graph.shapes()
    assert whole == 20 * sum(layer_work(node, shapes) for node in graph.nodes)
    few = descend(meter, start.choice, 3, work=3 * whole)
    # One run to begin with, and at most a few beyond the end for the tensor that it was at.
    assert meter.work < 10 * whole
    assert few.error <= start.error
    before = meter.measured
    assert learn_rounding(meter, few, 1000, work=0) is few
    assert meter.measured == before


def test_long_networks_are_searched_on_fewer_samples() -> None:
    graph = after_passes(toy())
    usual = EFFORTS["fast"]
    cheap = usual.work // CHEAP // graph.macs()
    assert sample_count(graph, usual) == rounding_count(graph, usual) == cheap > 5000
    medium = replace(usual, work=CHEAP * 130 * graph.macs())
    assert (sample_count(graph, medium), rounding_count(graph, medium)) == (130, 256)
    assert rounding_count(graph, medium, fitted=True) == FITTED * 256
    assert sample_count(graph, replace(medium, work=100 * graph.macs())) == 100
    assert sample_count(graph, replace(usual, in_all=1)) == usual.samples[0]
    per_sample = sum(layer_work(node, graph.shapes()) for node in graph.nodes)
    round_ = per_sample * change_count(graph, usual.roles)
    assert sample_count(graph, replace(usual, in_all=2 * 20 * round_)) == 20


def test_what_is_worse_is_given_up_on_the_first_batch() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 64)
    meter, start = Meter(graph, samples), start_of(graph, samples)
    (name,) = (tensor.name for tensor in graph.inputs)
    fmt = start.activations[name]
    coarse = start.with_activation(name, replace(fmt, frac_bits=fmt.frac_bits - 4))
    best, worse = meter.measure(start), meter.measure(coarse)
    before, one_run = meter.work, sum(layer_work(node, graph.shapes()) for node in graph.nodes)
    assert meter.better(coarse, best) is None
    assert meter.work - before == 64 // FIRST * one_run
    # Nothing changes: nothing runs, and nothing is better.
    assert meter.better(start, best) is None
    assert meter.work - before == 64 // FIRST * one_run
    found = meter.better(start, worse)
    assert found is not None and np.array_equal(found.errors, best.errors)
    assert meter.work - before == (64 // FIRST + 64) * one_run


def test_few_samples_are_one_batch() -> None:
    graph = after_passes(toy())
    enough = FIRST * LEAST_FIRST
    for count, sizes in ((enough - 1, [63]), (enough, [8, 8, 16, 32]), (70, [9, 9, 17, 35])):
        meter = Meter(graph, draw(graph, count))
        assert [batch.count for batch in meter.batches] == sizes
        whole = np.sort(np.concatenate(meter.real("in")).ravel())
        assert np.array_equal(whole, np.sort(meter.samples["in"].ravel()))


def test_the_same_integers_of_other_constants_do_not_run_again() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 12)
    meter = Meter(graph, samples)
    now = meter.measure(start_of(graph, samples))
    before = meter.work
    for node in graph.nodes:
        if "weights" in node.params:
            run = now.layers[node.name]
            on_grid = {r: run.param_formats[r].dequantize(a) for r, a in run.params.items()}
            same = meter.measure(now.choice.with_values(node.name, on_grid), now)
            assert np.array_equal(same.errors, now.errors)
    assert meter.work == before


def test_a_typical_error_is_in_logarithms_and_hardly_hears_a_sample_far_off() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 16)
    samples["in"][0] *= 20
    start = start_of(graph, samples)
    usual, typical = (Meter(graph, samples, typical=flag).measure(start) for flag in (False, True))
    assert np.allclose(typical.errors, np.log(usual.errors + 1e-5))
    finer = replace(
        start,
        activations={
            n: replace(f, frac_bits=f.frac_bits + 2) for n, f in start.activations.items()
        },
    )
    usually, typically = (
        Meter(graph, samples, typical=flag).measure(finer) for flag in (False, True)
    )
    assert usually.error > usual.error
    assert typically.error < typical.error


def test_what_a_run_stops_before_is_not_run_and_has_no_error() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 8)
    meter, start = Meter(graph, samples), start_of(graph, samples)
    middle = graph.nodes[len(graph.nodes) // 2].name
    half = meter.measure(start, until=middle)
    assert list(half.layers)[-1] == middle
    assert half.error == np.inf
    whole = meter.measure(start, half)
    assert meter.work == 8 * sum(layer_work(node, graph.shapes()) for node in graph.nodes)
    assert whole.error == Meter(graph, samples).measure(start).error


def test_descent_repairs_a_bad_format() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 40)
    good = start_of(graph, samples)
    (name,) = (tensor.name for tensor in graph.inputs)
    fmt = good.activations[name]
    spoiled = type(fmt)(8, fmt.frac_bits - 4)
    meter = Meter(graph, samples)
    start = meter.measure(Choice({**good.activations, name: spoiled}, good.params))
    ended = descend(meter, start.choice, 2)
    assert ended.choice.activations[name].frac_bits >= fmt.frac_bits - 1
    assert ended.error < 0.5 * start.error


@pytest.mark.parametrize("scheme", ["q7", "q15", "q15x7"])
@pytest.mark.parametrize("effort", ["fast", "good"])
def test_a_search_is_never_worse_than_least_squares(scheme: str, effort: str) -> None:
    graph = after_passes(toy())
    samples = draw(graph, 40)
    ranges = calibrate(graph, samples)
    start = Choice(*choose_formats(graph, ranges, UNIFORM[scheme], "mse"))
    found = search(graph, ranges, samples, UNIFORM[scheme], EFFORTS[effort])
    # The toy is a classifier; with 8-bit activations samples far off hardly count.
    meter = Meter(graph, samples, typical=scheme == "q7")
    assert found.measured.error <= meter.measure(start).error
    quant = choose_network(graph, ranges, samples, scheme, "output", effort)
    for node in quant.nodes:
        assert getattr(node.arithmetic, "bound", 0) <= ACCUMULATOR_MAX


def test_rounding_is_also_learned_from_weights_that_do_not_saturate() -> None:
    graph = after_passes(toy())
    usual = start_of(graph, draw(graph, 20))
    finer, coarser = [node.name for node in graph.nodes if "weights" in node.params][:2]

    def moved(name: str, delta: int) -> dict[str, PowerOfTwo]:
        fmt = usual.params[name]["weights"]
        return {**usual.params[name], "weights": replace(fmt, frac_bits=fmt.frac_bits + delta)}

    params = {finer: moved(finer, 1), coarser: moved(coarser, -1)}
    given = replace(usual, params={**usual.params, **params})
    assert _to_round(usual, usual) == [usual]
    same, other = _to_round(given, usual)
    assert same is given
    assert other.params[finer] == usual.params[finer]
    assert other.params[coarser] == given.params[coarser]
    assert other.activations is given.activations


def test_the_same_samples_give_the_same_network() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 30)
    ranges = calibrate(graph, samples)
    first, second = (choose_network(graph, ranges, samples, "q7", "output") for _ in range(2))
    assert first.formats() == second.formats()
    for a, b in zip(first.nodes, second.nodes, strict=True):
        assert all(np.array_equal(a.params[role], b.params[role]) for role in a.params)


def test_a_softmax_of_the_input_is_measured_before_it() -> None:
    b = GraphBuilder("only")
    graph = b.finish([b.add("softmax", Softmax(), [b.input("in", (4,))], {})], {})
    samples = draw(graph, 40)
    start = start_of(graph, samples)
    coarse = start.with_activation("in", replace(start.activations["in"], frac_bits=1))
    errors = [Meter(graph, samples).measure(choice).error for choice in (start, coarse)]
    assert 0 < errors[0] < 0.2 * errors[1]


def test_zero_tensors_have_formats() -> None:
    """A dead layer, zero weights and zero samples: everything is defined and finite."""
    r = rng()
    b = GraphBuilder("dead")
    x = b.input("in", (6,))
    dead = {"weights": np.zeros((4, 6)), "bias": np.zeros(4)}
    y = b.add("dead", Dense(RELU), [x], dead)
    y = b.add("out", Dense(), [y], weights(r, (3, 4), 3))
    graph = b.finish([y], {})
    for samples in (draw(graph, 8), {"in": np.zeros((4, 6), np.float32)}):
        ranges = calibrate(graph, samples)
        for calibration in ("output", "percentile", "kl", "mse", "minmax"):
            effort = "best" if calibration == "output" else "fast"
            quant = choose_network(graph, ranges, samples, "q7", calibration, effort)
            result = run_reference(quant, quantize_inputs(quant, samples))["out"]
            bias = quant.nodes[-1].node.params["bias"]
            assert np.allclose(quant.formats()["out"].dequantize(result), bias, atol=0.02)


@pytest.mark.parametrize("scheme", ["int8", "int16x8", "int4"])
def test_affine_schemes_take_the_best_method_for_single_tensors(scheme: str) -> None:
    graph = after_passes(toy())
    samples = draw(graph)
    ranges = calibrate(graph, samples)

    def sqnr(method: str) -> float:
        quant = choose_network(graph, ranges, samples, scheme, method)
        return evaluate(quant, samples, None).sqnr_db or np.inf

    best = sqnr("output")
    others = [sqnr(method) for method in RANGES]
    assert best in others or scheme == "int4"  # which learns rounding, too
    assert best >= max(others) - 1.0  # it is chosen without the softmax at the end
