"""Files for any batch, which compute shapes as they run, and operators of float networks only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import run_float
from mcu_export.loaders import load_network
from mcu_export.loaders.tflite.network import like_interpreter
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import random_inputs, run_reference

tf = pytest.importorskip("tensorflow")

from tests.loaders.tflite_networks import convert, interpret, weights  # noqa: E402

STEPS = (6, 4)


def any_batch(x):
    """Dense layers over steps, whose batch and steps become one axis; reshapes by tf.shape."""
    batch = tf.shape(x)[0]
    y = tf.nn.relu(tf.tensordot(x, weights(4, 5), 1) + weights(5))
    y = tf.reshape(y, (batch, 3, 10))
    y = tf.nn.leaky_relu(tf.tensordot(y, weights(10, 6), 1), 0.1) * weights(6)
    mean = tf.reshape(tf.reduce_mean(y, 1), tf.stack([batch, 1, 6]))
    y = y + tf.tile(mean, tf.concat([[1], tf.shape(y)[1:2], [1]], 0))
    flat = tf.reshape(y, (batch, tf.reduce_prod(tf.shape(y)[1:])))
    return tf.matmul(flat, weights(18, 3)) + weights(3)


def test_floats_of_any_batch(tmp_path: Path):
    content = convert(any_batch, "", (STEPS,), batch=None)
    (tmp_path / "net.tflite").write_bytes(content)
    graph = load_network(tmp_path / "net.tflite")
    inputs = np.random.default_rng(2).standard_normal((4, *STEPS)).astype(np.float32)
    got = run_float(graph, {graph.inputs[0].name: inputs})[graph.outputs[0]]
    wanted = interpret(content, inputs)[""].reshape(got.shape)
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert "dense" in {node.op.kind for node in graph.nodes}


def test_integers_of_any_batch(tmp_path: Path):
    content = convert(any_batch, "int8", (STEPS,), batch=None)
    (tmp_path / "net.tflite").write_bytes(content)
    quant = load_network(tmp_path / "net.tflite")
    assert isinstance(quant, QuantGraph)
    inputs = random_inputs(quant, 8)
    got = run_reference(like_interpreter(quant), inputs)[quant.graph.outputs[0]]
    wanted = interpret(content, next(iter(inputs.values())))[""].reshape(got.shape)
    assert np.array_equal(got, wanted)


class Functions(tf.Module):
    """What float networks may have; PReLU with a slope for each element."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = tf.Variable(tf.reshape(weights(24), STEPS))

    def function(self, x):
        """One output."""
        y = tf.nn.elu(x) + tf.nn.gelu(x, True) - tf.exp(-x * 0.1)
        return tf.nn.relu(y) + -self.slopes * tf.nn.relu(-y)


def test_functions_of_float_networks(tmp_path: Path):
    network, path = Functions(), tmp_path / "net.tflite"
    content = convert(network.function, "", (STEPS,), network)
    path.write_bytes(content)
    graph = load_network(path)
    assert {"elu", "gelu", "exponential", "prelu"} <= {node.op.kind for node in graph.nodes}
    inputs = np.random.default_rng(3).standard_normal((4, *STEPS)).astype(np.float32)
    got = run_float(graph, {graph.inputs[0].name: inputs})[graph.outputs[0]]
    wanted = interpret(content, inputs, tf.lite.experimental.OpResolverType.BUILTIN)
    wanted = wanted[""].reshape(got.shape)
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_functions_of_integers_are_refused(tmp_path: Path):
    path = tmp_path / "net.tflite"
    path.write_bytes(convert(tf.nn.gelu, "int8", (STEPS,)))
    with pytest.raises(UnsupportedLayerError, match="GELU is not run in the integers"):
        load_network(path)


def test_images_side_by_side_are_refused(tmp_path: Path):
    """Steps that become the batch of a convolution would be taken for one image."""

    def per_step(x):
        y = tf.nn.conv2d(tf.reshape(x, (-1, 5, 4, 2)), weights(2, 2, 2, 3), 1, "VALID")
        return tf.reshape(y, (-1, 3, 36))

    path = tmp_path / "net.tflite"
    path.write_bytes(convert(per_step, "", ((3, 5, 4, 2),), batch=None))
    with pytest.raises(UnsupportedLayerError, match="a batch of more than 1"):
        load_network(path)
