"""Learned rounding: compensated weights and corrected biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcu_export.affine_rounding import learn_affine_rounding
from mcu_export.calibrate import calibrate
from mcu_export.graph import Node, run_float
from mcu_export.loaders.base import GraphBuilder
from mcu_export.logits import before_softmax
from mcu_export.nearest_plane import _factor, round_compensated, usual_damping
from mcu_export.ops import Dense
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize, quantize_network
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.rounding import (
    adapted_weights,
    compensated_weights,
    corrected_bias,
    learn_rounding,
)
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.widths import UNIFORM
from mcu_export.search import Choice, Measured, Meter, relative_error
from tests.helpers import after_passes, draw, rng, toy


def limits(taps: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(taps, -128), np.full(taps, 127)


def test_compensated_rounding_beats_the_nearest_integers() -> None:
    r = rng(5)
    inputs = r.standard_normal((500, 40)) @ r.standard_normal((40, 40))
    products = inputs.T @ inputs / len(inputs)
    weights = r.uniform(-100, 100, (16, 40))
    rounded = round_compensated(
        weights[None], products[None], *limits(40), np.arange(40)[None, ::-1]
    )[0]
    nearest = np.floor(weights + 0.5)
    assert np.array_equal(rounded, np.floor(rounded))
    assert -128 <= rounded.min() <= rounded.max() <= 127

    def error(integers: np.ndarray) -> float:
        return float(np.square((weights - integers) @ inputs.T).mean())

    assert error(rounded) < 0.5 * error(nearest)


def test_compensated_rounding_of_independent_inputs_is_the_nearest() -> None:
    weights = rng(6).uniform(-300, 300, (3, 70))
    rounded = round_compensated(weights[None], np.eye(70)[None], *limits(70), np.arange(70)[None])[
        0
    ]
    assert np.array_equal(rounded, np.clip(np.floor(weights + 0.5), -128, 127))


def _begin() -> tuple[Meter, Measured]:
    graph = after_passes(toy())
    samples = draw(graph, 60)
    choice = Choice(*choose_formats(graph, calibrate(graph, samples), UNIFORM["q7"], "mse"))
    meter = Meter(graph, samples)
    return meter, meter.measure(choice)


def _mean_error(meter: Meter, measured: Measured, name: str) -> np.ndarray:
    output = np.concatenate(measured.outputs(name))
    error = np.concatenate(meter.real(name)) - measured.layers[name].format.dequantize(output)
    return np.abs(error.reshape(-1, error.shape[-1]).mean(axis=0))


def test_bias_correction_reduces_the_mean_error() -> None:
    meter, now = _begin()
    for node in meter.graph.nodes:
        if "weights" not in node.params:
            continue
        # A bias with an error of its own, and enough frac bits that its rounding does not matter.
        fine = {
            role: type(f)(16, f.frac_bits + 6) for role, f in now.choice.params[node.name].items()
        }
        params = {**now.choice.params, node.name: fine}
        off = {"weights": node.params["weights"], "bias": node.params["bias"] + 0.2}
        spoiled = Choice(now.choice.activations, params).with_values(node.name, off)
        before = meter.measure(spoiled)
        fixed = corrected_bias(meter, before, node)
        after = meter.measure(spoiled.with_values(node.name, fixed))
        error_before = _mean_error(meter, before, node.name).mean()
        assert _mean_error(meter, after, node.name).mean() < 0.4 * error_before, node.name


def test_compensated_weights_keep_the_mean_and_lower_the_error() -> None:
    """Against the float layer on the same inputs; behind a ReLU a mean is left, but a small one."""
    graph = after_passes(toy())
    samples = draw(graph, 200)
    choice = Choice(*choose_formats(graph, calibrate(graph, samples), UNIFORM["q15x7"], "mse"))
    meter = Meter(graph, samples)
    now = meter.measure(choice)
    before, after = 0.0, 0.0
    for node in graph.nodes:
        if "weights" not in node.params:
            continue
        # A bias fine enough that its own rounding does not show.
        fine = {**choice.params[node.name], "bias": PowerOfTwo(16, 12)}
        base = meter.measure(replace(choice, params={**choice.params, node.name: fine}), now)
        values = compensated_weights(meter, base, node)
        tried = meter.measure(base.choice.with_values(node.name, values), base)
        nearest, compensated = (_own_error(measured, node) for measured in (base, tried))
        size = np.sqrt(np.square(nearest).mean())
        assert np.abs(compensated.mean(axis=0)).max() < size, node.name
        before += np.log(size)
        after += np.log(np.sqrt(np.square(compensated).mean()))
    assert after < before - 0.5


def two_layers(scheme: str) -> tuple[Meter, Measured, Node]:
    """Two dense layers, the first with weights that are far off: 3 bits are left of them."""
    r = rng(9)
    b = GraphBuilder("two")
    x = b.input("in", (12,))
    y = b.add("first", Dense(), [x], {"weights": r.standard_normal((12, 12)), "bias": np.zeros(12)})
    z = b.add("second", Dense(), [y], {"weights": r.standard_normal((4, 12)), "bias": np.ones(4)})
    graph = b.finish([z], {})
    samples = draw(graph, 400)
    choice = Choice(*choose_formats(graph, calibrate(graph, samples), UNIFORM[scheme], "mse"))
    coarse = choice.params["first"]["weights"]
    first = {**choice.params["first"], "weights": replace(coarse, frac_bits=coarse.frac_bits - 4)}
    meter = Meter(graph, samples)
    now = meter.measure(replace(choice, params={**choice.params, "first": first}))
    return meter, now, graph.node("second")


def test_adapted_weights_make_up_for_those_before() -> None:
    meter, now, node = two_layers("q15x7")
    apart, adapted = (
        meter.measure(now.choice.with_values(node.name, remedy(meter, now, node)), now).error
        for remedy in (compensated_weights, adapted_weights)
    )
    assert adapted < 0.4 * apart


def test_weights_adapted_to_few_samples_serve_others() -> None:
    """Least squares alone would fit the errors of six samples of twelve inputs exactly."""
    meter, now, node = two_layers("q15x7")
    few = Meter(meter.graph, draw(meter.graph, 6))
    seen = few.measure(now.choice)
    apart, adapted = (
        meter.measure(now.choice.with_values(node.name, remedy(few, seen, node)), now).error
        for remedy in (compensated_weights, adapted_weights)
    )
    assert adapted < 0.95 * apart


def test_few_rows_are_damped_more() -> None:
    assert usual_damping(9, 4000) == pytest.approx(0.01, rel=0.05)
    assert usual_damping(9, 4000) < usual_damping(300, 4000) < usual_damping(4000, 4000)
    assert usual_damping(4000, 4000) == usual_damping(4000, 20) == pytest.approx(0.11)


def test_beside_8_bit_inputs_weights_are_rounded_only() -> None:
    meter, now, node = two_layers("q7")
    apart, adapted = (remedy(meter, now, node) for remedy in (compensated_weights, adapted_weights))
    assert all(np.array_equal(apart[role], adapted[role]) for role in apart)


def test_inputs_that_never_change_do_not_stop_adapted_weights() -> None:
    before, now, node = two_layers("q15x7")
    for value in (0.0, 3.0):
        still = {"in": np.full((40, 12), value)}
        meter = Meter(before.graph, still)
        seen = meter.measure(now.choice)
        values = adapted_weights(meter, seen, node)
        assert all(np.isfinite(array).all() for array in values.values())


def _own_error(measured: Measured, node: Node) -> np.ndarray:
    """What a layer adds to the errors of its inputs: (outputs, channels)."""
    layer, (source,) = measured.layers[node.name], node.inputs
    made = measured.layers.get(source)
    fmt = made.format if made else measured.choice.activations[source]
    inputs, output = measured.inputs(node.name), np.concatenate(measured.outputs(node.name))
    real = node.op.compute([fmt.dequantize(np.concatenate(inputs))], node.params)
    return (layer.format.dequantize(output) - real).reshape(-1, node.shape[-1])


def test_learned_constants_reach_the_integers_and_help() -> None:
    meter, now = _begin()
    learned = learn_rounding(meter, now, 1000)
    assert learned.error < now.error
    choice = learned.choice
    assert choice.values
    quant = quantize(meter.graph, "q7", choice.activations, choice.params, choice.values)
    for layer in quant.nodes:
        run = learned.layers[layer.name]
        assert all(np.array_equal(layer.params[r], run.params[r]) for r in layer.params)
        assert layer.node is meter.graph.node(layer.name)


def test_inputs_that_depend_on_each_other_do_not_stop_the_rounding() -> None:
    few = rng(0).standard_normal((3, 40))
    products = few.T @ few  # rank 3 of 40: no Cholesky factor
    factor = _factor(products)
    assert np.isfinite(factor).all()
    assert np.array_equal(factor, np.triu(factor))
    assert np.allclose(factor @ factor.T, products, atol=1e-3 * np.trace(products))


def test_one_such_part_does_not_change_how_another_is_rounded() -> None:
    r = rng(3)
    few, many = r.standard_normal((3, 20)), r.standard_normal((60, 20))
    products = np.stack([few.T @ few, many.T @ many])
    weights, order = r.uniform(-100, 100, (2, 5, 20)), np.arange(20)[None]
    both = round_compensated(weights, products, *limits(20), order.repeat(2, axis=0))
    for part in range(2):
        own = slice(part, part + 1)
        alone = round_compensated(weights[own], products[own], *limits(20), order)
        assert np.array_equal(both[own], alone)


def test_four_bit_weights_learn_to_cancel_their_errors() -> None:
    graph = after_passes(toy())
    samples, others = draw(graph, 60), draw(graph, 40, seed=9)
    plain = quantize_network(graph, calibrate(graph, samples), "int4", "mse")
    learned = learn_affine_rounding(plain, samples)
    output = before_softmax(graph, graph.outputs[0])

    def error(quant: QuantGraph) -> float:
        values = run_reference(quant, quantize_inputs(quant, others))[output]
        return relative_error(
            run_float(graph, others)[output], quant.formats()[output].dequantize(values)
        )

    assert error(learned) < 0.8 * error(plain)
    for layer in learned.nodes:
        if "weights" in layer.params:
            assert layer.param_formats["weights"].bits == 4
            assert -7 <= layer.params["weights"].min() <= layer.params["weights"].max() <= 7
            assert layer.arithmetic.bound < 2**31
