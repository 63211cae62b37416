"""Activations of fewer bits, where an accumulator leaves too few to the weights."""

from __future__ import annotations

import numpy as np

from mcu_export.calibrate import calibrate
from mcu_export.choose import choose_network
from mcu_export.graph import Graph, run_float
from mcu_export.loaders.base import GraphBuilder
from mcu_export.narrow import narrow
from mcu_export.ops import RELU, Dense, Reshape
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.schemes.power_of_two import ACCUMULATOR_MAX
from mcu_export.schemes.widths import UNIFORM
from mcu_export.search import Choice, Measured, Meter
from tests.helpers import after_passes, draw, rng, toy, weights


def wide() -> Graph:
    """A dense layer over 1500 inputs: in 16 bits its weights would overflow the accumulator."""
    r = rng(7)
    b = GraphBuilder("wide")
    y = b.add("first", Dense(RELU), [b.input("in", (10,))], weights(r, (1500, 10), 1500))
    y = b.add("shape", Reshape((1500,)), [y])
    return b.finish([b.add("out", Dense(), [y], weights(r, (4, 1500), 4))], {})


def begin(graph: Graph, scheme: str) -> tuple[Meter, Measured]:
    samples = draw(graph, 40)
    formats = choose_formats(graph, calibrate(graph, samples), UNIFORM[scheme], "minmax")
    meter = Meter(graph, samples)
    return meter, meter.measure(Choice(*formats))


def error(quant: QuantGraph) -> float:
    samples = draw(quant.graph, 200, seed=11)
    real = run_float(quant.graph, samples)["out"]
    integers = run_reference(quant, quantize_inputs(quant, samples))["out"]
    return float(np.square(quant.formats()["out"].dequantize(integers) - real).mean() ** 0.5)


def test_weights_get_the_bits_that_activations_give_up() -> None:
    meter, before = begin(wide(), "q15")
    after = narrow(meter, before)
    frac = [m.layers["out"].param_formats["weights"].frac_bits for m in (before, after)]
    given_up = 16 - after.choice.used_bits["first"]
    assert given_up >= 2
    assert frac[1] - frac[0] == given_up
    assert set(after.choice.used_bits) == {"first"}
    made = [
        quantize(meter.graph, "q15", c.activations, c.params, c.values, c.used_bits)
        for c in (before.choice, after.choice)
    ]
    assert error(made[1]) < 0.5 * error(made[0])
    first, _, out = made[1].nodes
    assert (first.arithmetic.low, first.arithmetic.high) == (0, 2 ** (15 - given_up) - 1)
    assert out.arithmetic.bound <= ACCUMULATOR_MAX
    samples = draw(wide(), 200, seed=11)
    integers = run_reference(made[1], quantize_inputs(made[1], samples))["first"]
    assert integers.max() <= first.arithmetic.high


def test_nothing_is_narrowed_where_weights_keep_their_bits() -> None:
    for graph, scheme in ((wide(), "q7"), (wide(), "q15x7"), (after_passes(toy()), "q7")):
        meter, before = begin(graph, scheme)
        assert narrow(meter, before) is before


def test_a_search_narrows() -> None:
    graph, samples = wide(), draw(wide(), 40)
    ranges = calibrate(graph, samples)
    searched = choose_network(graph, ranges, samples, "q15", "output")
    plain = choose_network(graph, ranges, samples, "q15", "minmax")
    assert error(searched) < 0.5 * error(plain)
