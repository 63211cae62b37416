"""Where weights stand in the files of all versions: their order, names and types."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras_oracle import (
    as_list,
    assert_same,
    layer_config,
    outputs_of,
    randomize,
    samples_of,
    sequential,
    write_h5,
)

from mcu_export.graph import Graph
from mcu_export.loaders.keras.model import load_keras


def check(graph: Graph, model: keras.Model) -> None:
    samples = samples_of(graph)
    given = list(samples.values())
    assert_same(outputs_of(graph, samples), as_list(model(given if given[1:] else given[0])))


@pytest.mark.parametrize("order", ["trainable first", "by layer"])
def test_order_of_the_weights_of_a_nested_model(order, tmp_path):
    inside = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(4)]
    )
    model = randomize(keras.Sequential([keras.Input((4,)), inside]))
    model.save(tmp_path / "new.h5")
    path = tmp_path / "new.h5"
    with h5py.File(path, "r+") as file:
        group = file["model_weights"][inside.name]
        names = list(group.attrs["weight_names"])
        assert [name.rpartition("/")[2] for name in names[-2:]] == [
            "moving_mean",
            "moving_variance",
        ]
        if order == "by layer":
            names = names[:4] + names[-2:] + names[4:-2]
            group.attrs["weight_names"] = np.asarray(names, "S99")
    check(load_keras(path), model)


def test_long_lists_of_names_are_split_over_attributes(tmp_path):
    model = sequential((4,), layers.Dense(3, name="d"), layers.BatchNormalization(name="bn"))
    path = tmp_path / "new.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/bn"]
        names = np.asarray(list(group.attrs["weight_names"]), "S99")
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:1], names[1:]
    check(load_keras(path), model)


def test_normalization_without_a_count(tmp_path):
    model = sequential((4, 2), layers.Normalization(mean=[1.0, -2.0], variance=[0.5, 3.0]))
    first = layer_config("Normalization", "n", axis=[-1], batch_input_shape=[None, 4, 2])
    whole = {"class_name": "Sequential", "config": {"name": "s", "layers": [first]}}
    stored = {"n": {"n/mean:0": np.float32([1, -2]), "n/variance:0": np.float32([0.5, 3])}}
    check(load_keras(write_h5(tmp_path / "old.h5", whole, stored, "2.11.0")), model)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_types(dtype, tmp_path):
    model = sequential((4,), layers.Dense(3, name="d"))
    for weight in model.weights:
        weight.assign(np.asarray(weight).astype("float16"))
    model.save(tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5", "r+") as file:
        group = file["model_weights/d"]
        name = group.attrs["weight_names"][0]
        values = group[name][()].astype(dtype)
        del group[name]
        group[name] = values
    check(load_keras(tmp_path / "new.h5"), model)


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_archives_of_keras_2(separator, tmp_path):
    """They list layers with weights twice, and those from Windows have ``\\`` in the names."""
    inside = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.ReLU(), layers.Dense(4)], name="inside"
    )
    model = randomize(
        keras.Sequential([keras.Input((4,)), layers.Dense(4), inside, layers.Dense(3)])
    )
    model.save(tmp_path / "new.keras")
    container = "_layer_checkpoint_dependencies"
    places = {
        "dense": model.layers[0],
        f"sequential/{container}/dense": inside.layers[0],
        f"sequential/{container}/dense_2": inside.layers[2],
        "dense_2": model.layers[2],
    }
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for place, layer in places.items():
            name = f"{container}/{place}".replace("/", separator)
            for index, weight in enumerate(layer.weights):
                file[f"{name}/vars/{index}"] = np.asarray(weight)
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        old.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        old.writestr("config.json", new.read("config.json"))
        old.writestr("model.weights.h5", weights.getvalue())
    check(load_keras(tmp_path / "old.keras"), model)
