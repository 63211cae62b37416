"""Functions on tensors: as Keras 3 stores them, and as Keras 1 and 2 did, made by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_oracle import (
    assert_same,
    check_formats,
    functional,
    layer_config,
    node,
    outputs_of,
    samples_of,
    write_h5,
)

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.loaders.keras.model import load_keras

ONE = {
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "swish by hand": lambda x: x * ops.sigmoid(x),
    "silu": ops.silu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu by tanh": ops.gelu,
    "elu": lambda x: ops.elu(x, alpha=0.5),
    "selu": ops.selu,
    "leaky relu": lambda x: ops.leaky_relu(x, 0.35),
    "relu with a slope": lambda x: keras.activations.relu(x, negative_slope=0.2, max_value=1.0),
    "hard sigmoid": ops.hard_sigmoid,
    "hard tanh": ops.hard_tanh,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "exp": ops.exp,
    "square": ops.square,
    "slice": lambda x: x[:, 1:4],
    "slice with steps": lambda x: x[:, ::2, ::-1, -2:],
    "index": lambda x: x[:, -1],
    "ellipsis": lambda x: x[..., 1],
    "new axis": lambda x: x[:, :, None, 2, 1:3],
    "flip": lambda x: ops.flip(x, axis=(1, 3)),
    "transpose": lambda x: ops.transpose(x, (0, 3, 1, 2)),
    "swapped axes": lambda x: ops.swapaxes(x, 1, -1),
    "rows of constants": lambda x: x * np.arange(6, dtype=np.float32)[:, None, None] - 1.0,
    "an image of constants": lambda x: ops.subtract(np.ones((1, 6, 5, 4), np.float32), x),
    "largest of channels": lambda x: ops.maximum(x, np.asarray([0, 0.5, -0.5, 1], np.float32)),
}


@pytest.mark.parametrize("function", ONE.values(), ids=ONE)
def test_functions_of_one_tensor(function, tmp_path):
    source = keras.Input((6, 5, 4))
    check_formats(keras.Model(source, function(layers.ReLU(0.9)(source + 0.1) - 0.3)), tmp_path)


def test_functions_of_two_tensors(tmp_path):
    x, y = keras.Input((3, 4), name="x"), keras.Input((3, 4), name="y")
    results = [x * y, x - y, ops.maximum(x, y), ops.minimum(x, y), x + y]
    results += [ops.concatenate([x, y], axis=axis) for axis in (1, -1)]
    check_formats(keras.Model([x, y], results), tmp_path)


def test_parts_of_a_tensor(tmp_path):
    x = keras.Input((6, 4))
    a, b = ops.split(x, 2, axis=-1)
    c, d, e = ops.split(x, [1, 4], axis=1)
    check_formats(keras.Model(x, [b - a, d, e, c]), tmp_path)


def test_a_gate_of_split_channels(tmp_path):
    x = keras.Input((5, 6))
    values, gates = ops.split(layers.Dense(8)(x), 2, axis=-1)
    check_formats(keras.Model(x, values * ops.sigmoid(gates)), tmp_path)


def tf_node(name: str, function: str, inbound: list[Any], **extra: Any) -> dict[str, Any]:
    class_name = "SlicingOpLambda" if "getitem" in function else "TFOpLambda"
    return node(class_name, name, inbound, function=function, **extra)


def of_keras_2(items: list[dict[str, Any]], outputs: list[str], path: Any, version: str) -> Any:
    whole = functional(
        [node("InputLayer", "x", [], batch_input_shape=[None, 4, 6]), *items],
        [["x", 0, 0]],
        [[name, 0, 0] for name in outputs],
        "Functional",
    )
    graph = load_keras(write_h5(path / "old.h5", whole, {}, version))
    samples = samples_of(graph)
    return samples["x"], outputs_of(graph, samples)


def test_keras_2_functions(tmp_path):
    cut = {"start": 1, "stop": None, "step": 2}
    every = {"start": None, "stop": None, "step": None}
    spec = {"class_name": "__tuple__", "items": [{"class_name": "__ellipsis__"}, cut]}
    rows = [every, {"start": None, "stop": 3, "step": None}, 0]
    items = [
        tf_node("s", "math.sigmoid", [["x", 0, 0, {"name": None}]]),
        tf_node("m", "math.multiply", [["x", 0, 0, {"y": ["s", 0, 0], "name": None}]]),
        tf_node("d", "math.subtract", [["m", 0, 0, {"y": ["x", 0, 0]}]]),
        tf_node("c", "concat", [[["x", 0, 0, {"axis": -1}], ["d", 0, 0, {"axis": -1}]]]),
        tf_node("l", "nn.leaky_relu", [["x", 0, 0, {"alpha": 0.3}]]),
        tf_node("g", "keras.activations.gelu", [["x", 0, 0, {"approximate": True}]]),
        tf_node("i", "__operators__.getitem", [["x", 0, 0, {"slice_spec": spec}]]),
        tf_node("j", "__operators__.getitem", [["x", 0, 0, {"slice_spec": rows}]]),
        tf_node("p", "split", [["x", 0, 0, {"num_or_size_splits": [1, 5], "axis": 2}]]),
        tf_node("q", "math.maximum", [["p", 0, 1, {"y": ["p", 0, 0]}]]),
        tf_node("t", "compat.v1.transpose", [["x", 0, 0, {"perm": [0, 2, 1]}]]),
    ]
    x, results = of_keras_2(items, ["m", "c", "l", "g", "i", "j", "q", "t"], tmp_path, "2.9.0")
    swish = x / (1 + np.exp(-x))
    tanh = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    wanted = [
        swish,
        np.concatenate([x, swish - x], -1),
        np.where(x > 0, x, x * np.float32(0.3)),
        0.5 * x * (1 + tanh),
        x[..., 1::2],
        x[:, :3, 0],
        np.maximum(x[:, :, 1:], x[:, :, :1]),
        x.swapaxes(1, 2),
    ]
    assert_same(results, wanted)


@pytest.mark.parametrize("version", ["1.2.2", "2.4.0", "3.0.5"])
def test_hard_sigmoid_is_another_function_since_keras_3(version, tmp_path):
    items = [
        node("Activation", "h", [[["x", 0, 0, {}]]], activation="hard_sigmoid"),
        node("LeakyReLU", "l", [[["x", 0, 0, {}]]], alpha={"type": "ndarray", "value": 0.4}),
    ]
    x, results = of_keras_2(items, ["h", "l"], tmp_path, version)
    slope = 1 / 6 if version.startswith("3") else 0.2
    assert_same(results, [np.clip(x * slope + 0.5, 0, 1), np.where(x > 0, x, 0.4 * x)])


def test_keras_1_enlarges_and_merges(tmp_path):
    items = [
        node("UpSampling1D", "up", [[["x", 0, 0, {}]]], length=2),
        node("Activation", "a", [[["up", 0, 0, {}]]], activation="tanh"),
        node("Merge", "mul", [[["up", 0, 0, {}], ["a", 0, 0, {}]]], mode="mul", concat_axis=-1),
        node("Merge", "ave", [[["up", 0, 0, {}], ["a", 0, 0, {}]]], mode="ave"),
        node("Merge", "cat", [[["mul", 0, 0, {}], ["ave", 0, 0, {}]]], mode="concat",
             concat_axis=1),
    ]  # fmt: skip
    x, results = of_keras_2(items, ["cat"], tmp_path, "1.2.2")
    up = np.repeat(x, 2, axis=1)
    assert_same(results, [np.concatenate([up * np.tanh(up), (up + np.tanh(up)) / 2], 1)])


def test_keras_1_deconvolution_and_slopes(tmp_path):
    model = keras.Sequential(
        [keras.Input((3, 4, 2)), layers.Conv2DTranspose(3, 3, 2, "same"), layers.PReLU()]
    )
    random = np.random.default_rng(4)
    kernel, bias, slopes = (random.standard_normal(w.shape, np.float32) for w in model.weights)
    model.set_weights([kernel, bias, slopes])
    config = [
        layer_config("Deconvolution2D", "d", nb_filter=3, nb_row=3, nb_col=3, subsample=[2, 2],
                     border_mode="same", dim_ordering="tf", output_shape=[None, 6, 8, 3],
                     batch_input_shape=[None, 3, 4, 2]),
        layer_config("PReLU", "p", init="zero"),
    ]  # fmt: skip
    stored = {"d": {"d_W": kernel, "d_b": bias}, "p": {"p_alphas": slopes}}
    whole = {"class_name": "Sequential", "config": config}
    graph = load_keras(write_h5(tmp_path / "old.h5", whole, stored, "1.2.2"))
    samples = samples_of(graph)
    assert_same(outputs_of(graph, samples), [np.asarray(model(next(iter(samples.values()))))])


REFUSED = {
    "some samples": (lambda x: x[1:2, :], UnsupportedLayerError, "batch"),
    "one sample": (lambda x: x[0], UnsupportedLayerError, "batch"),
    "quotient": (lambda x: 1.0 / x, UnsupportedLayerError, "division"),
    "along the batch": (
        lambda x: ops.concatenate([x, x], axis=0),
        UnsupportedLayerError,
        "batch",
    ),
    "one number": (lambda x: x[:, 0, 0, 0], UnsupportedLayerError, "single number"),
}


@pytest.mark.parametrize(("function", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_functions_that_are_refused(function, error, says, tmp_path):
    source = keras.Input((6, 5, 4))
    keras.Model(source, function(source)).save(tmp_path / "network.keras")
    with pytest.raises(error, match=says):
        load_keras(tmp_path / "network.keras")


BAD = {
    "step 0": ("__operators__.getitem", {"slice_spec": [0, {"start": 1, "stop": 2, "step": 0}]}),
    "a text": ("__operators__.getitem", {"slice_spec": [{"start": None}, "a"]}),
    "a bound of text": ("__operators__.getitem", {"slice_spec": [{"start": "a"}]}),
    "out of range": ("__operators__.getitem", {"slice_spec": [{"start": None}, 99]}),
    "nothing left": ("__operators__.getitem", {"slice_spec": [{}, {"start": 9}]}),
    "too many axes": ("__operators__.getitem", {"slice_spec": [{}, {}, {}, {}]}),
    "no parts": ("split", {"num_or_size_splits": 0, "axis": 1}),
    "uneven parts": ("split", {"num_or_size_splits": 5, "axis": 1}),
    "other sizes": ("split", {"num_or_size_splits": [3, 2], "axis": 1}),
    "no axis": ("concat", {"axis": 7}),
    "axis of text": ("reverse", {"axis": "a"}),
    "no order": ("transpose", {"perm": [0, 2, 2]}),
    "ragged": ("math.multiply", {"y": [[1.0], [1.0, 2.0]]}),
    "deep": ("math.multiply", {"y": [[[[[[[[[[[[1.0]]]]]]]]]]]]}),
    "text": ("math.multiply", {"y": ["1.0"]}),
}


@pytest.mark.parametrize(("function", "options"), BAD.values(), ids=BAD)
def test_bad_arguments(function, options, tmp_path):
    items = [tf_node("f", function, [["x", 0, 0, options]])]
    with pytest.raises(McuExportError) as caught:
        of_keras_2(items, ["f"], tmp_path, "2.9.0")
    assert caught.value.exit_code in (3, 4)


def test_a_huge_enlargement_takes_no_memory(tmp_path):
    items = [node("UpSampling1D", "up", [[["x", 0, 0, {}]]], size=4_000_000)]
    with pytest.raises(ModelFileError, match="plausible"):
        of_keras_2(items, ["up"], tmp_path, "2.9.0")
