"""What cannot be loaded: an error that names file, layer and way out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers
from keras_bad_files import archive, good, refused
from keras_oracle import functional, layer_config, node, randomize, sequential, write_h5

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.keras.model import load_keras

__all__ = ["good"]

UNSUPPORTED = {
    "activation": ((5,), lambda: layers.Dense(3, activation="log_softmax"), "log_softmax"),
    "interpolation": (
        (4, 5, 1),
        lambda: layers.UpSampling2D(interpolation="bilinear"),
        "bilinear",
    ),
    "transposed, dilation": (
        (4, 5, 2),
        lambda: layers.Conv2DTranspose(2, 3, dilation_rate=2),
        "dilation",
    ),
    "threshold": ((5,), lambda: layers.ReLU(threshold=0.5), "threshold"),
    "softmax axis": ((4, 5), lambda: layers.Softmax(axis=1), "axis 1"),
    "batch norm axis": ((4, 5), lambda: layers.BatchNormalization(axis=1), "axis"),
    "normalization axis": ((4, 5), lambda: layers.Normalization(axis=(1, 2)), "axes"),
    "channels first": ((4, 5, 6), lambda: layers.MaxPooling2D(data_format="channels_first"), "ch"),
    "unknown": ((4, 5), layers.LayerNormalization, "LayerNormalization"),
    "step": ((3, 4), lambda: layers.TimeDistributed(layers.RepeatVector(2)), "RepeatVector"),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(("shape", "make", "says"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_layers_are_named(shape, make, says, suffix, tmp_path):
    layer = make()
    path = tmp_path / f"network{suffix}"
    sequential(shape, layer, layers.Flatten(), layers.Dense(2)).save(path)
    with pytest.raises(UnsupportedLayerError) as caught:
        load_keras(path)
    assert says in str(caught.value)
    assert layer.name in caught.value.where
    assert path.name in caught.value.where
    assert type(layer).__name__ in caught.value.where
    assert caught.value.exit_code == 4


def sequential_h5(path: Path, *items: dict[str, Any], **weights: Any) -> Path:
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": list(items)}}
    return write_h5(path, config, weights)


def test_code_in_a_lambda_is_not_run(tmp_path, capsys):
    path = tmp_path / "network.keras"
    source = keras.Input((4,))
    keras.Model(
        source, layers.Lambda(lambda x: (print("speaks"), x)[1], name="speak")(source)
    ).save(path)
    capsys.readouterr()
    with pytest.raises(UnsupportedLayerError, match="never run") as caught:
        load_keras(path)
    assert "'speak' (Lambda)" in caught.value.where
    assert capsys.readouterr().out == ""


def test_all_unsupported_classes_are_named_at_once(tmp_path):
    path = sequential_h5(
        tmp_path / "a.h5",
        layer_config("Dense", "d", units=2, batch_input_shape=[None, 4]),
        layer_config("Custom>Mine", "mine"),
        layer_config("UpSampling3D", "up"),
    )
    with pytest.raises(UnsupportedLayerError, match=r"Custom>Mine.*UpSampling3D") as caught:
        load_keras(path)
    assert "'mine'" in caught.value.where


def test_layers_that_stay_random_are_refused(tmp_path):
    source = keras.Input((4,))
    keras.Model(source, layers.Dropout(0.5)(source, training=True)).save(tmp_path / "a.keras")
    with pytest.raises(UnsupportedLayerError, match="training=True"):
        load_keras(tmp_path / "a.keras")


def test_input_of_unknown_size(tmp_path):
    source = keras.Input((None, 8, 1), name="spectrum")
    keras.Model(source, layers.Conv2D(2, 3)(source)).save(tmp_path / "a.keras")
    with pytest.raises(ModelFileError, match=r"\(None, 8, 1\)") as caught:
        load_keras(tmp_path / "a.keras")
    assert "spectrum" in caught.value.where


CHANGES = {
    "negative kernel": ("conv", {"kernel_size": [-3, 3]}),
    "kernel of text": ("conv", {"kernel_size": "big"}),
    "huge kernel": ("conv", {"kernel_size": [10**9, 10**9]}),
    "no filters": ("conv", {"filters": 0}),
    "other filters": ("conv", {"filters": 4}),
    "huge filters": ("conv", {"filters": 10**15}),
    "stride 0": ("conv", {"strides": [0, 1]}),
    "three strides": ("conv", {"strides": [1, 1, 1]}),
    "infinite dilation": ("conv", {"dilation_rate": float("inf")}),
    "more units": ("d", {"units": 3}),
    "units are true": ("d", {"units": True}),
}


@pytest.mark.parametrize(("layer", "change"), CHANGES.values(), ids=CHANGES)
def test_bad_settings_name_the_layer(layer, change, good, tmp_path):
    with zipfile.ZipFile(good / "good.keras") as old:
        config = json.loads(old.read("config.json"))
    for item in config["config"]["layers"]:
        if item["config"]["name"] == layer:
            item["config"].update(change)
    path = archive(tmp_path / "a.keras", good, config=json.dumps(config).encode())
    assert repr(layer) in refused(path).where


def input_node(*shape: Any) -> dict[str, Any]:
    return node("InputLayer", "x", [], batch_input_shape=[None, *shape])


WIRINGS = {
    "circle": [
        input_node(4),
        node("ReLU", "a", [[["b", 0, 0, {}]]]),
        node("ReLU", "b", [[["a", 0, 0, {}]]]),
    ],
    "no such layer": [input_node(4), node("ReLU", "b", [[["nowhere", 0, 0, {}]]])],
    "no such use": [input_node(4), node("ReLU", "b", [[["x", 3, 0, {}]]])],
    "no such tensor": [input_node(4), node("ReLU", "b", [[["x", 0, 9, {}]]])],
    "same name": [input_node(4), *[node("ReLU", "b", [[["x", 0, 0, {}]]])] * 2],
    "huge input": [input_node(10**6, 10**6, 3), node("ReLU", "b", [[["x", 0, 0, {}]]])],
    "size 0": [input_node(0, 3), node("ReLU", "b", [[["x", 0, 0, {}]]])],
    "text as size": [input_node("a", 3), node("ReLU", "b", [[["x", 0, 0, {}]]])],
    "no shape": [node("InputLayer", "x", []), node("ReLU", "b", [[["x", 0, 0, {}]]])],
    "huge padding": [
        input_node(4, 4, 1),
        node("ZeroPadding2D", "b", [[["x", 0, 0, {}]]], padding=2 * 10**6),
    ],
    "negative padding": [
        input_node(4, 4, 1),
        node("ZeroPadding2D", "b", [[["x", 0, 0, {}]]], padding=[[-1, 0], [0, 0]]),
    ],
    "reshape that does not fit": [
        input_node(4, 4, 1),
        node("Reshape", "b", [[["x", 0, 0, {}]]], target_shape=[3, -1]),
    ],
    "wrapped too deep": [
        input_node(4, 4),
        {
            **node("TimeDistributed", "b", [[["x", 0, 0, {}]]]),
            "config": json.loads(
                '{"name": "t", "layer": {"class_name": "TimeDistributed", "config": ' * 30
                + '{"name": "t"}'
                + "}}" * 30
            ),
        },
    ],
}


@pytest.mark.parametrize("items", WIRINGS.values(), ids=WIRINGS)
def test_bad_wirings(items, tmp_path):
    refused(write_h5(tmp_path / "a.h5", functional(items, [["x", 0, 0]], [["b", 0, 0]]), {}))


def test_models_in_models_cannot_explode(tmp_path):
    """Each of 20 models uses the one inside it twice: a million layers from a small file."""
    inner: dict[str, Any] = functional(
        [input_node(4), node("ReLU", "b", [[["x", 0, 0, {}]]])], [["x", 0, 0]], [["b", 0, 0]]
    )
    for _ in range(20):
        used = {**inner, "name": "m", "inbound_nodes": [[["x", 0, 0, {}]], [["m", 0, 0, {}]]]}
        inner = functional([input_node(4), used], [["x", 0, 0]], [["m", 1, 0]])
    assert "more than" in str(refused(write_h5(tmp_path / "a.h5", inner, {})))


def test_a_variance_that_epsilon_does_not_lift(tmp_path):
    model = randomize(keras.Sequential([keras.Input((4,)), layers.BatchNormalization()]))
    model.layers[0].moving_variance.assign([0.0, 1.0, 1.0, 1.0])
    model.save(tmp_path / "a.keras")
    load_keras(tmp_path / "a.keras")
    with pytest.raises(ModelFileError, match="larger epsilon"):
        load_keras(tmp_path / "a.keras", bn_epsilon=0.0)
