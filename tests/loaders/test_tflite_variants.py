"""Every form of every operator equals TensorFlow's interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.graph import run_float
from mcu_export.loaders import load_network
from mcu_export.loaders.tflite.network import like_interpreter
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import random_inputs, run_reference

tf = pytest.importorskip("tensorflow")

from tests.loaders.tflite_networks import convert  # noqa: E402 -- it imports tensorflow
from tests.loaders.tflite_variants import IMAGE, Slopes, together  # noqa: E402

SAMPLES = 8


def _interpreted(path: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Every output, (samples, *shape), of the interpreter's reference kernels."""
    interpreter = tf.lite.Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    entries, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    seen = []
    for sample in range(len(inputs[0])):
        for entry, given in zip(entries, inputs, strict=True):
            value = given[sample].astype(entry["dtype"]).reshape(entry["shape"])
            interpreter.set_tensor(entry["index"], value)
        interpreter.invoke()
        seen.append([interpreter.get_tensor(output["index"]) for output in outputs])
    return [np.stack(one) for one in zip(*seen, strict=True)]


def _differences(path: Path, owners: list[str]) -> dict[str, int]:
    """For each variant that owns an output, how many integers differ from the interpreter's."""
    quant = load_network(path)
    assert isinstance(quant, QuantGraph)
    inputs = random_inputs(quant, SAMPLES)
    expected = _interpreted(path, [inputs[tensor.name] for tensor in quant.graph.inputs])
    values = run_reference(like_interpreter(quant), inputs)
    wrong = dict.fromkeys(owners, 0)
    for name, output, theirs in zip(owners, quant.graph.outputs, expected, strict=True):
        ours = values[output].reshape(SAMPLES, -1)
        wrong[name] += int((ours != theirs.reshape(SAMPLES, -1)).sum())
    return wrong


@pytest.mark.parametrize("integers", ["int8", "int16"])
def test_integers_equal_the_interpreter(integers: str, tmp_path: Path):
    network, path = together(integers == "int16"), tmp_path / "net.tflite"
    path.write_bytes(convert(network.function, integers, network.inputs))
    wrong = _differences(path, network.owners())
    assert {name: count for name, count in wrong.items() if count} == {}
    assert len(wrong) == len(network.names) > 60


def test_prelu_equals_the_interpreter(tmp_path: Path):
    network, path = Slopes(), tmp_path / "net.tflite"
    path.write_bytes(convert(network.function, "int8", (IMAGE,), network))
    assert _differences(path, ["prelu"]) == {"prelu": 0}
    assert "prelu" in {node.op.kind for node in load_network(path).graph.nodes}


def test_floats_are_near_the_interpreter(tmp_path: Path):
    network, path = together(wide=False), tmp_path / "net.tflite"
    path.write_bytes(convert(network.function, "", network.inputs))
    graph, random = load_network(path), np.random.default_rng(1)
    inputs = {
        t.name: random.standard_normal((3, *t.shape)).astype(np.float32) for t in graph.inputs
    }
    values, expected = run_float(graph, inputs), _interpreted(path, list(inputs.values()))
    for output, theirs in zip(graph.outputs, expected, strict=True):
        assert np.abs(values[output].ravel() - theirs.ravel()).max() < 2e-5, output
