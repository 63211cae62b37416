"""Files as Keras 1 and 2 wrote them, made by hand; today's Keras computes what they mean."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from keras_oracle import (
    as_list,
    assert_same,
    functional,
    layer_config,
    node,
    outputs_of,
    randomize,
    samples_of,
    sequential,
    write_h5,
)

from mcu_export.graph import Graph
from mcu_export.loaders.keras.model import load_keras


def arrays(*layer_list: keras.layers.Layer) -> list[list[np.ndarray]]:
    return [[np.asarray(w) for w in layer.weights] for layer in layer_list]


def named(values: list[np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return dict(zip(names, values, strict=True))


def check(graph: Graph, model: keras.Model) -> None:
    samples = samples_of(graph)
    given = list(samples.values())
    assert_same(outputs_of(graph, samples), as_list(model(given if given[1:] else given[0])))


def test_keras_1_sequential(tmp_path):
    model = sequential(
        (9, 8, 3),
        layers.ZeroPadding2D(((1, 1), (2, 2))),
        layers.Conv2D(4, (3, 2), (2, 1), padding="same", activation="relu"),
        layers.BatchNormalization(epsilon=1e-5),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(2, 2, dilation_rate=(1, 2), use_bias=False),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    )
    conv, norm, atrous, dense = arrays(*(model.layers[i] for i in (1, 2, 4, 6)))
    config = [
        layer_config(
            "ZeroPadding2D",
            "zeropadding2d_1",
            padding=[1, 2],
            dim_ordering="tf",
            batch_input_shape=[None, 9, 8, 3],
        ),
        layer_config(
            "Convolution2D",
            "convolution2d_1",
            nb_filter=4,
            nb_row=3,
            nb_col=2,
            subsample=[2, 1],
            border_mode="same",
            dim_ordering="tf",
            bias=True,
            activation="relu",
        ),
        layer_config("BatchNormalization", "batchnorm_1", epsilon=1e-5, axis=-1, mode=0),
        layer_config(
            "MaxPooling2D", "max_1", pool_size=[2, 2], strides=[2, 2], border_mode="valid"
        ),
        layer_config(
            "AtrousConvolution2D",
            "atrous_1",
            nb_filter=2,
            nb_row=2,
            nb_col=2,
            atrous_rate=[1, 2],
            bias=False,
            activation="linear",
            dim_ordering="tf",
        ),
        layer_config("Flatten", "flatten_1"),
        layer_config("Dropout", "dropout_1", p=0.5),
        layer_config("Dense", "dense_1", output_dim=3, activation="softmax", input_dim=24),
    ]
    stored = {
        "convolution2d_1": named(conv, "convolution2d_1_W", "convolution2d_1_b"),
        "batchnorm_1": named(norm, *(f"batchnorm_1_{w}" for w in ("gamma", "beta", "m", "v"))),
        "atrous_1": named(atrous, "atrous_1_W"),
        "dense_1": named(dense, "dense_1_W", "dense_1_b"),
    }
    whole = {"class_name": "Sequential", "config": config}
    path = write_h5(tmp_path / "old.h5", whole, stored, "1.2.2")
    graph = load_keras(path)
    assert graph.details["keras_version"] == "1.2.2"
    check(graph, model)


def test_keras_1_convolution_over_a_sequence(tmp_path):
    model = sequential(
        (15, 3), layers.Conv1D(4, 5, 2, activation="relu"), layers.MaxPooling1D(3, 2)
    )
    kernel, bias = arrays(model.layers[0])[0]
    convolution = layer_config(
        "Convolution1D",
        "c",
        nb_filter=4,
        filter_length=5,
        subsample_length=2,
        border_mode="valid",
        activation="relu",
        batch_input_shape=[None, 15, 3],
    )
    pool = layer_config("MaxPooling1D", "p", pool_length=3, stride=2, border_mode="valid")
    stored = {"c": {"c_W": kernel[:, None], "c_b": bias}}
    whole = {"class_name": "Sequential", "config": [convolution, pool]}
    check(load_keras(write_h5(tmp_path / "old.h5", whole, stored, "1.1.0")), model)


def merged_model() -> keras.Model:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    y = layers.Add()([layers.Dense(5, activation="relu")(left), layers.Dense(5)(right)])
    return randomize(keras.Model([left, right], layers.Dense(2)(y)))


def dense_config(name: str, units: int, **more: Any) -> dict[str, Any]:
    return layer_config("Dense", name, output_dim=units, bias=True, **more)


def test_keras_1_sequential_that_begins_with_a_merge(tmp_path):
    model = merged_model()
    a, b, c = arrays(*(layer for layer in model.layers if isinstance(layer, layers.Dense)))
    shape = {"batch_input_shape": [None, 4]}
    branches = [
        {"class_name": "Sequential", "config": [dense_config("a", 5, activation="relu", **shape)]},
        {
            "class_name": "Sequential",
            "config": [dense_config("b", 5, batch_input_shape=[None, 3])],
        },
    ]
    for number, branch in enumerate(branches):
        branch["config"] = {"name": f"branch_{number}", "layers": branch["config"]}
    merge = layer_config("Merge", "merge_1", mode="sum", layers=branches)
    whole = {"class_name": "Sequential", "config": [merge, dense_config("c", 2)]}
    stored = {
        "branch_0": named(a, "a_W", "a_b"),
        "branch_1": named(b, "b_W", "b_b"),
        "c": named(c, "c_W", "c_b"),
    }
    check(load_keras(write_h5(tmp_path / "old.h5", whole, stored, "1.2.0")), model)


def test_keras_1_functional_merge(tmp_path):
    model = merged_model()
    a, b, c = arrays(*(layer for layer in model.layers if isinstance(layer, layers.Dense)))
    items = [
        node("InputLayer", "left", [], batch_input_shape=[None, 4]),
        node("InputLayer", "right", [], batch_input_shape=[None, 3]),
        node("Dense", "a", [[["left", 0, 0]]], output_dim=5, activation="relu"),
        node("Dense", "b", [[["right", 0, 0]]], output_dim=5, activation="linear"),
        node("Merge", "m", [[["a", 0, 0], ["b", 0, 0]]], mode="sum", concat_axis=-1),
        node("Dense", "c", [[["m", 0, 0]]], output_dim=2),
    ]
    whole = functional(items, [["left", 0, 0], ["right", 0, 0]], [["c", 0, 0]])
    stored = {k: named(v, f"{k}_W", f"{k}_b") for k, v in (("a", a), ("b", b), ("c", c))}
    check(load_keras(write_h5(tmp_path / "old.h5", whole, stored, "1.2.2")), model)


def test_keras_2_settings_in_their_old_forms(tmp_path):
    model = sequential(
        (4, 5, 3), layers.BatchNormalization(), layers.ReLU(0.5), layers.DepthwiseConv2D(2)
    )
    norm, depthwise = arrays(model.layers[0], model.layers[2])
    scalar = {"type": "ndarray", "value": 0.5}
    zero = {"type": "ndarray", "value": 0.0}
    items = [
        layer_config(
            "BatchNormalizationV1", "bn", axis=[3], epsilon=1e-3, batch_input_shape=[None, 4, 5, 3]
        ),
        layer_config("ReLU", "r", max_value=scalar, negative_slope=zero, threshold=zero),
        layer_config("DepthwiseConv2D", "a/b", kernel_size=[2, 2], strides=[1, 1], groups=1),
    ]
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    stored = {
        "bn": named(norm, *(f"bn/{role}:0" for role in roles)),
        "a/b": named(depthwise, "a/b/depthwise_kernel:0", "a/b/bias:0"),
    }
    whole = {"class_name": "Sequential", "config": {"name": "s", "layers": items}}
    check(load_keras(write_h5(tmp_path / "old.h5", whole, stored)), model)


def test_keras_2_model_used_twice_counts_its_uses_from_one(tmp_path):
    source = keras.Input((4,))
    inside = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    model = randomize(keras.Model(source, layers.Add()([inside(source), inside(inside(source))])))
    dense = layer_config("Dense", "d", units=4, batch_input_shape=[None, 4])
    nested = node(
        "Sequential", "inside", [[["x", 0, 0, {}]], [["x", 0, 0, {}]], [["inside", 2, 0, {}]]]
    )
    nested["config"] = {"name": "inside", "layers": [dense]}
    items = [
        node("InputLayer", "x", [], batch_input_shape=[None, 4]),
        nested,
        node("Add", "add", [[["inside", 1, 0, {}], ["inside", 3, 0, {}]]]),
    ]
    whole = functional(items, [["x", 0, 0]], [["add", 0, 0]])
    stored = {"inside": named(arrays(inside)[0], "d/kernel:0", "d/bias:0")}
    check(load_keras(write_h5(tmp_path / "old.h5", whole, stored)), model)


def lambda_node(name: str, function: str, inbound: list[Any]) -> dict[str, Any]:
    return node("TFOpLambda", name, inbound, function=function, dtype="float32", trainable=True)


def test_keras_2_functions(tmp_path):
    """``tf.nn.relu6((2 - (x + x * 3)) / [1, 2, 4, 8])`` and a mean, as TFOpLambda stores them."""
    items = [
        node("InputLayer", "x", [], batch_input_shape=[None, 3, 2, 4]),
        lambda_node("mul", "math.multiply", [["x", 0, 0, {"y": 3.0, "name": None}]]),
        lambda_node("sum", "__operators__.add", [["x", 0, 0, {"y": ["mul", 0, 0], "name": None}]]),
        lambda_node("sub", "math.subtract", [["_CONSTANT_VALUE", -1, 2.0, {"y": ["sum", 0, 0]}]]),
        lambda_node("div", "math.truediv", [["sub", 0, 0, {"y": [1.0, 2.0, 4.0, 8.0]}]]),
        lambda_node("act", "tf.nn.relu6", [["div", 0, 0, {"name": None}]]),
        lambda_node(
            "mean", "math.reduce_mean", [["act", 0, 0, {"axis": [1, 2], "keepdims": False}]]
        ),
        lambda_node("grow", "expand_dims", [["mean", 0, 0, {"axis": -1}]]),
        lambda_node("flat", "reshape", [["grow", 0, 0, {"shape": [-1, 4]}]]),
    ]
    whole = functional(items, [["x", 0, 0]], [["act", 0, 0], ["flat", 0, 0]], "Functional")
    graph = load_keras(write_h5(tmp_path / "old.h5", whole, {}, "2.9.0"))
    samples = samples_of(graph)
    x = samples["x"]
    y = np.clip((2 - (x + x * 3)) / np.float32([1, 2, 4, 8]), 0, 6)
    assert_same(outputs_of(graph, samples), [y, y.mean(axis=(1, 2))])


def test_the_first_keras_of_tensorflow_stores_graph_ops(tmp_path):
    def op_node(name: str, op: str, inbound: list[Any], **constants: Any) -> dict[str, Any]:
        places = {place[1:]: value for place, value in constants.items()}
        return node(
            "TensorFlowOpLayer", name, inbound, node_def={"name": name, "op": op}, constants=places
        )

    items = [
        node("InputLayer", "x", [], batch_input_shape=[None, 5, 4]),
        op_node("mul", "Mul", [[["x", 0, 0, {}]]], _1=2.5),
        op_node("sub", "Sub", [[["mul", 0, 0, {}]]], _0=[1.0, 2.0, 3.0, 4.0]),
        op_node("sum", "AddV2", [[["sub", 0, 0, {}], ["x", 0, 0, {}]]]),
        op_node("act", "Relu", [[["sum", 0, 0, {}]]]),
    ]
    whole = functional(items, [["x", 0, 0]], [["act", 0, 0]])
    graph = load_keras(write_h5(tmp_path / "old.h5", whole, {}, "2.2.4-tf"))
    samples = samples_of(graph)
    x = samples["x"]
    assert_same(outputs_of(graph, samples), [np.maximum(np.float32([1, 2, 3, 4]) - x * 2.5 + x, 0)])
