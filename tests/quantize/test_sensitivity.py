"""Sensitivity finds the layer that was spoiled, in every scheme, and agrees with a plain loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcu_export.calibrate import calibrate
from mcu_export.graph import rebuild, run_float
from mcu_export.quantize import choose_formats, quantize, quantize_network
from mcu_export.schemes.widths import UNIFORM
from mcu_export.sensitivity import sensitivity
from tests.helpers import after_passes, draw, toy


def test_the_worst_layer_comes_first() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 30)
    activations, params = choose_formats(graph, calibrate(graph, samples), UNIFORM["q7"], "mse")
    activations["pw"] = replace(activations["pw"], frac_bits=activations["pw"].frac_bits - 4)
    found = sensitivity(quantize(graph, "q7", activations, params), samples)
    assert found[0].name == "pw"
    assert [n.error for n in found] == sorted((n.error for n in found), reverse=True)
    assert found[0].snr_db < found[1].snr_db < 80


@pytest.mark.parametrize("scheme", ["q7", "q15", "int8", "int16x8"])
def test_the_noise_is_that_of_one_layer_alone(scheme: str) -> None:
    graph = after_passes(toy())
    samples = draw(graph, 30)
    quant = quantize_network(graph, calibrate(graph, samples), scheme, "mse")
    found = {noise.name: noise for noise in sensitivity(quant, samples)}
    layer = next(node for node in quant.nodes if node.name == "pw")
    weights = {r: layer.param_formats[r].dequantize(a) for r, a in layer.params.items()}
    nodes = [replace(n, params=weights) if n.name == "pw" else n for n in graph.nodes]
    values = run_float(rebuild(graph, nodes), samples)
    rounded = layer.format.dequantize(layer.format.quantize(values["pw"])).astype(np.float32)
    position = [node.name for node in graph.nodes].index("pw")
    real = run_float(graph, samples)
    values = {**real, "pw": rounded}
    for node in graph.nodes[position + 1 :]:
        values[node.name] = node.op.compute([values[i] for i in node.inputs], node.params)
    (logits,) = graph.nodes[-1].inputs  # before the softmax
    error = np.linalg.norm(values[logits] - real[logits]) / np.linalg.norm(real[logits])
    assert found["pw"].error == pytest.approx(error, rel=1e-3)
