"""Sensitivity finds the layer that was spoiled."""

from __future__ import annotations

from dataclasses import replace

from mcu_export.calibrate import calibrate
from mcu_export.quantize import choose_formats, quantize
from mcu_export.sensitivity import sensitivity
from tests.helpers import after_passes, draw, toy


def test_the_worst_layer_comes_first() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 30)
    activations, params = choose_formats(graph, calibrate(graph, samples), "q7", "mse")
    activations["pw"] = replace(activations["pw"], frac_bits=activations["pw"].frac_bits - 4)
    found = sensitivity(quantize(graph, "q7", activations, params), samples)
    assert found[0].name == "pw"
    assert len(found) == len(graph.nodes) + len(graph.inputs)
    assert [n.error for n in found] == sorted((n.error for n in found), reverse=True)
    assert found[0].snr_db < found[1].snr_db < 80
