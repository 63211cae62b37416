"""Every op in Keras computes what it computes in the graph, and survives the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.calibrate import calibrate
from mcu_export.errors import UnsupportedLayerError
from mcu_export.finetune.base import from_keras, to_keras
from mcu_export.finetune.network import TrainableNetwork, keras_names
from mcu_export.graph import Graph, run_float
from mcu_export.loaders import load
from mcu_export.passes import run_passes
from mcu_export.quantize import quantize_network
from mcu_export.reference import quantize_inputs, run_reference
from tests.cases.networks import CASES
from tests.helpers import after_passes, draw, toy

# What Keras has no layer for, and what the error says.
REFUSED = {
    "max_pool": "padding 'same' or none",
    "average_pool": "padding 'same' or none",
    "transpose_conv": "padding 'same' or 'valid'",
    "plus_constant": "an operand that is constant",
    "plus_number": "an operand that is constant",
    "subtract_from": "an operand that is constant",
    "multiply_channels": "an operand that is constant",
    "multiply_rows": "an operand that is constant",
    "maximum_constant": "an operand that is constant",
    "pad_value": "pads with zeros only",
    "shuffle": "no slice",
}


def _networks() -> dict[str, Graph]:
    return {**{name: make() for name, make in CASES.items()}, "toy": after_passes(toy())}


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_lacks_is_a_named_error(name: str, tf) -> None:
    with pytest.raises(UnsupportedLayerError, match=REFUSED[name]) as refused:
        TrainableNetwork(CASES[name]())
    assert "layer" in refused.value.where
    assert "finetune" in refused.value.fix


@pytest.mark.parametrize("name", [n for n in [*CASES, "toy"] if n not in REFUSED])
def test_keras_computes_the_same(name: str, tf, tmp_path: Path) -> None:
    graph = _networks()[name]
    samples = draw(graph, 5)
    model = TrainableNetwork(graph).model()
    expected = run_float(graph, samples)[graph.outputs[0]]
    got = np.asarray(model(list(samples.values())))
    np.testing.assert_allclose(got, expected, atol=2e-4, rtol=2e-4)
    model.save(tmp_path / "net.keras")
    *_, (_, again) = run_passes(load(tmp_path / "net.keras"))
    names = [tensor.name for tensor in again.inputs]
    renamed = dict(zip(names, samples.values(), strict=True))
    got = run_float(again, renamed)[again.outputs[0]]
    np.testing.assert_allclose(got, expected, atol=2e-4, rtol=2e-4)
    # As many layers of the same kinds: formats are handed over in this order.
    kinds = [[(n.op.kind, n.shape) for n in one.nodes] for one in (again, graph)]
    assert kinds[0] == kinds[1]


def test_constants_return_from_keras() -> None:
    graph = after_passes(toy())
    shapes = graph.shapes()
    for node in graph.nodes:
        sources = [shapes[name] for name in node.inputs]
        for role, values in node.params.items():
            there = to_keras(node, sources, role, values)
            np.testing.assert_array_equal(from_keras(node, role, there), values)


def test_names_are_allowed_in_keras_and_unique() -> None:
    made = keras_names(["a/b", "a_b", "A b", "", "///", "x"])
    assert len({name.lower() for name in made.values()}) == 6
    assert all(name.replace("_", "").isalnum() for name in made.values())


def test_the_forward_pass_is_the_reference(tf) -> None:
    """Integers of every layer; the float value that carries the gradient is their real value."""
    graph = after_passes(toy())
    samples = draw(graph, 12)
    for scheme in ("q7", "q15"):
        quant = quantize_network(graph, calibrate(graph, samples), scheme, "mse")
        network = TrainableNetwork(graph)
        network.assign(quant)
        inputs = quantize_inputs(quant, samples)
        exact = run_reference(quant, inputs)
        for layer in quant.nodes:
            real, integers = network.forward(quant, inputs, layer.name)
            np.testing.assert_array_equal(integers, exact[layer.name])
            expected = layer.format.dequantize(exact[layer.name])
            np.testing.assert_allclose(np.asarray(real), expected, atol=1e-5)
