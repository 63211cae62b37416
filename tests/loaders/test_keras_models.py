"""Whole models: nested, shared, with several inputs and outputs, random; functions on tensors."""

from __future__ import annotations

import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_oracle import (
    as_list,
    assert_same,
    check_formats,
    outputs_of,
    randomize,
    samples_of,
    sequential,
)

from mcu_export.loaders.keras.model import load_keras


def block(filters: int, name: str | None = None) -> keras.Model:
    inside = [layers.Conv2D(filters, 3, padding="same"), layers.BatchNormalization()]
    return keras.Sequential([*inside, layers.ReLU()], name=name)


def residual(shape: tuple[int, ...], name: str) -> keras.Model:
    source = keras.Input(shape)
    left = layers.Conv2D(shape[-1], 3, padding="same")(source)
    left = layers.BatchNormalization()(left)
    return keras.Model(source, layers.Activation("relu")(layers.Add()([left, source])), name=name)


def test_models_inside_of_models(tmp_path):
    source = keras.Input((7, 6, 3))
    y = block(4, "low")(source)
    y = layers.Conv2D(4, 1)(y)
    y = residual((7, 6, 4), "high")(y)
    deep = keras.Sequential([keras.Input((7, 6, 4)), block(2), residual((7, 6, 2), "in")])
    y = layers.Dense(3)(layers.Flatten()(deep(y)))
    graph = check_formats(randomize(keras.Model(source, y)), tmp_path)
    assert "low/conv2d" in " ".join(graph.shapes()).replace("conv2d_", "conv2d")


def test_sequential_begins_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 2)), block(3), block(4), layers.Flatten()])
    check_formats(randomize(model), tmp_path)


def test_a_layer_used_twice_has_two_nodes_and_the_same_weights(tmp_path):
    source = keras.Input((5,))
    shared = layers.Dense(5, activation="relu", name="shared")
    y = layers.Dense(2)(shared(shared(source)))
    graph = check_formats(randomize(keras.Model(source, y)), tmp_path)
    first, second = graph.node("shared"), graph.node("shared_2")
    assert np.array_equal(first.params["weights"], second.params["weights"])


def test_a_model_used_twice(tmp_path):
    left, right = keras.Input((6, 5, 3), name="left"), keras.Input((6, 5, 3), name="right")
    twin = block(4, "twin")
    other = residual((6, 5, 3), "other")
    y = layers.Add()([twin(left), twin(right), twin(other(left))])
    check_formats(randomize(keras.Model([left, right], y)), tmp_path)


def test_a_layer_shared_with_a_model(tmp_path):
    shared = layers.Dense(4, name="shared")
    inside = keras.Sequential([keras.Input((4,)), layers.ReLU(), shared], name="inside")
    source = keras.Input((4,))
    y = layers.Dense(3)(inside(shared(source)))
    check_formats(randomize(keras.Model(source, y)), tmp_path)


def test_a_model_shared_with_a_model_in_a_file_without_names(tmp_path):
    """As Keras 2.16 writes it: the weights are at the first place, and nothing bears a name."""
    inner = keras.Sequential(
        [keras.Input((5,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(4)],
        name="inner",
    )
    within = keras.Input((5,))
    deep = keras.Model(within, layers.Dense(3)(inner(within)), name="deep")
    source = keras.Input((5,))
    model = randomize(keras.Model(source, [deep(source), inner(source)]))
    model.save(tmp_path / "named.keras")
    with (
        zipfile.ZipFile(tmp_path / "named.keras") as named,
        zipfile.ZipFile(tmp_path / "network.keras", "w") as archive,
    ):
        (tmp_path / "weights.h5").write_bytes(named.read("model.weights.h5"))
        with h5py.File(tmp_path / "weights.h5", "r+") as file:
            file.visititems(lambda _, item: item.attrs.pop("name", None))
        archive.write(tmp_path / "weights.h5", "model.weights.h5")
        for member in ("config.json", "metadata.json"):
            archive.writestr(member, named.read(member))
    graph = load_keras(tmp_path / "network.keras")
    samples = samples_of(graph)
    assert_same(outputs_of(graph, samples), as_list(model(next(iter(samples.values())))))


def test_layers_of_another_model_continue(tmp_path):
    """As in transfer learning: the new model takes in layers, not the model they come from."""
    base = residual((6, 5, 3), "base")
    y = layers.GlobalAveragePooling2D()(base.layers[-2].output)
    check_formats(randomize(keras.Model(base.input, layers.Dense(2)(y))), tmp_path)


def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    inputs = [keras.Input((4,), name="zulu"), keras.Input((3,), name="alpha")]
    a, b = (layers.Dense(5)(one) for one in inputs)
    outputs = [layers.Dense(2, name="z_out")(b), layers.Add(name="a_out")([a, b])]
    graph = check_formats(randomize(keras.Model(inputs, outputs)), tmp_path)
    assert [tensor.name for tensor in graph.inputs] == ["zulu", "alpha"]
    assert list(graph.outputs) == ["z_out", "a_out"]


def test_inputs_in_a_dict(tmp_path):
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((3,), name="a")}
    y = layers.Add()([layers.Dense(5)(inputs["a"]), layers.Dense(5)(inputs["b"])])
    model = randomize(keras.Model(inputs, y))
    model.save(tmp_path / "network.keras")
    graph = load_keras(tmp_path / "network.keras")
    samples = samples_of(graph)
    assert_same(outputs_of(graph, samples), as_list(model(samples)))


def test_frozen_layers_in_a_nested_model(tmp_path):
    """What is not trainable comes last in the list of weights of an .h5 file."""
    inside = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, name="a"),
            layers.BatchNormalization(),
            layers.Dense(4, name="b"),
            layers.BatchNormalization(),
            layers.Dense(4, name="c"),
        ]
    )
    inside.get_layer("a").trainable = False
    inside.layers[3].trainable = False
    model = keras.Sequential([keras.Input((4,)), inside, layers.Dense(2)])
    check_formats(randomize(model), tmp_path)


@pytest.mark.parametrize("name", ["dots.and space", "ünï", "..", "layers", "vars"])
def test_odd_names(name, tmp_path):
    model = sequential((4,), layers.Dense(3), layers.Dense(2))
    config = model.get_config()
    config["layers"][1]["config"]["name"] = name
    model = randomize(keras.Sequential.from_config(config))
    model.save(tmp_path / "network.keras")
    graph = load_keras(tmp_path / "network.keras")
    samples = samples_of(graph)
    assert_same(outputs_of(graph, samples), as_list(model(next(iter(samples.values())))))


def functions(x):
    """Uses every function of Keras 3 that can be expressed."""
    y = ops.relu(x + x) * 2.0 + 1.0
    y = 1.0 - y / 3.0
    y = ops.relu6(-y) + np.arange(4, dtype=np.float32)
    y = ops.subtract(np.float32(2.0), y)
    y = ops.add(y, x) * np.asarray([[1.0, -1.0, 2.0, 0.5]], np.float32)
    y = ops.minimum(ops.maximum(ops.clip(y, -3, 3), -2.5), 2.25)
    y = ops.cast(ops.expand_dims(y, 1), "float32")
    y = ops.transpose(y, (0, 2, 1, 3, 4))
    y = ops.squeeze(y, axis=2)
    return keras.activations.relu(ops.add(y, 0.5), max_value=4.0)


def test_functions_on_tensors(tmp_path):
    source = keras.Input((3, 5, 4))
    y = functions(source)
    mean = ops.mean(y, axis=[1, 2], keepdims=True)
    largest = ops.max(y, axis=(1, 2))
    flat = ops.softmax(ops.reshape(y, (-1, 60)))
    model = keras.Model(source, [y, mean, largest, flat])
    check_formats(model, tmp_path, ".keras")


def test_mean_over_a_sequence(tmp_path):
    source = keras.Input((6, 4))
    y = layers.Dense(3)(source)
    model = keras.Model(source, [ops.mean(y, axis=1), ops.max(y, axis=-2, keepdims=True)])
    check_formats(randomize(model), tmp_path, ".keras")


def random_network(random: np.random.Generator) -> keras.Model:
    """An image network of random layers, branches included."""
    y = source = keras.Input((int(random.integers(9, 20)), int(random.integers(9, 20)), 3))
    for _ in range(int(random.integers(3, 7))):
        channels = int(random.integers(1, 6))
        kernel = (int(random.integers(1, 5)), int(random.integers(1, 5)))
        strides = int(random.integers(1, 3)) if min(y.shape[1:3]) > 4 else 1
        y = layers.Conv2D(channels, kernel, strides, "same", use_bias=bool(random.integers(2)))(y)
        kind = int(random.integers(4))
        if kind == 0:
            y = layers.ReLU()(layers.BatchNormalization(epsilon=float(random.uniform(0, 0.1)))(y))
        elif kind == 1:
            y = layers.Add()([y, layers.DepthwiseConv2D(3, padding="same")(y)])
        elif kind == 2 and min(y.shape[1:3]) > 4:
            y = layers.MaxPooling2D(2, padding="same")(layers.Dropout(0.3)(y))
        else:
            y = layers.SeparableConv2D(channels, 3, padding="same", activation="relu")(y)
    y = layers.Flatten()(y) if random.integers(2) else layers.GlobalAveragePooling2D()(y)
    return keras.Model(source, layers.Dense(4, activation="softmax")(y))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed, tmp_path):
    model = randomize(random_network(np.random.default_rng(seed)), seed)
    graph = check_formats(model, tmp_path)
    assert graph.parameters() >= 20


def test_predict_agrees(tmp_path):
    model = randomize(random_network(np.random.default_rng(99)))
    model.save(tmp_path / "network.keras")
    graph = load_keras(tmp_path / "network.keras")
    samples = samples_of(graph)
    wanted = model.predict(next(iter(samples.values())), verbose=0)
    assert_same(outputs_of(graph, samples), [wanted])


def test_half_precision_weights(tmp_path):
    """Layers of a bfloat16 policy store two bytes for each weight."""
    source = keras.Input((6,))
    y = layers.Dense(5, dtype=keras.DTypePolicy("bfloat16"), name="half")(source)
    model = randomize(keras.Model(source, layers.Dense(3, dtype="float32")(y)))
    model.save(tmp_path / "network.keras")
    graph = load_keras(tmp_path / "network.keras")
    stored = np.asarray(ops.cast(model.get_layer("half").kernel, "float32"))
    assert np.array_equal(graph.node("half").params["weights"], stored.T)


def test_details_tell_format_and_version(tmp_path):
    model = sequential((4,), layers.Dense(3))
    for suffix, kind in ((".keras", "keras v3"), (".h5", "keras h5")):
        model.save(tmp_path / f"network{suffix}")
        details = load_keras(tmp_path / f"network{suffix}").details
        assert details == {"format": kind, "keras_version": keras.__version__}


def test_content_decides_not_the_name(tmp_path):
    model = sequential((4,), layers.Dense(3))
    model.save(tmp_path / "a.keras")
    model.save(tmp_path / "b.h5")
    (tmp_path / "a.keras").rename(tmp_path / "a.h5")
    (tmp_path / "b.h5").rename(tmp_path / "b.keras")
    assert load_keras(tmp_path / "a.h5").details["format"] == "keras v3"
    assert load_keras(tmp_path / "b.keras").details["format"] == "keras h5"
