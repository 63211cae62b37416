"""Folding Keras files: Keras loads the result, which has no batch norm, and computes the same."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.fold import fold
from tests.loaders.keras_oracle import (
    as_list,
    functional,
    layer_config,
    node,
    randomize,
    sequential,
    write_h5,
)


def inputs_of(model, count=3):
    random = np.random.default_rng(5)
    return [random.standard_normal((count, *t.shape[1:])).astype(np.float32) for t in model.inputs]


def all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def batch_norms(model):
    found = []
    for layer in all_layers(model):
        inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
        found += [layer.name] if isinstance(inner, layers.BatchNormalization) else []
    return found


def groups(path_or_bytes):
    with h5py.File(path_or_bytes) as file:
        names = []
        file.visit(names.append)
    return sorted(names)


def folded(model, folder, suffix=".keras"):
    """Keras's own loading of the folded file, seen to compute the same."""
    path = folder / f"net{suffix}"
    model.save(path)
    done = fold(path)
    twin = keras.saving.load_model(folder / "net_bnfused.keras")
    x = inputs_of(model)
    for one, other in zip(as_list(model(x)), as_list(twin(x)), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=2e-5 * np.abs(one).max())
    return twin, done


BLOCKS = {
    "conv": [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()],
    "no bias": [layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization(epsilon=0.1)],
    "groups": [layers.Conv2D(6, 3, groups=3, use_bias=False), layers.BatchNormalization()],
    "depthwise": [
        layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
        layers.BatchNormalization(scale=False),
    ],
    "separable": [layers.SeparableConv2D(5, 3), layers.BatchNormalization(center=False)],
    "transposed": [layers.Conv2DTranspose(5, 3, 2), layers.BatchNormalization()],
    "dense": [layers.Flatten(), layers.Dense(5, use_bias=False), layers.BatchNormalization()],
    "two": [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.BatchNormalization()],
    "flat": [layers.Conv2D(4, 3), layers.Reshape((-1, 4)), layers.BatchNormalization()],
    "padded": [layers.ZeroPadding2D(1), layers.Conv2D(4, 3), layers.BatchNormalization()],
    "steps": [
        layers.TimeDistributed(layers.Conv1D(5, 2, use_bias=False)),
        layers.TimeDistributed(layers.BatchNormalization()),
    ],
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", [n for n in BLOCKS if n != "groups"])
def test_a_layer_takes_its_batch_norms_in(name, suffix, tmp_path):
    copies = [layer.__class__.from_config(layer.get_config()) for layer in BLOCKS[name]]
    twin, done = folded(sequential((6, 5, 3), *copies), tmp_path, suffix)
    assert isinstance(twin, keras.Sequential) and not batch_norms(twin) and not done.kept


def test_what_cannot_be_folded_stays(tmp_path):
    model = sequential(
        (6, 5, 3),
        layers.BatchNormalization(name="at_the_input"),
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(name="after_relu"),
        layers.Conv2D(4, 1),
        layers.BatchNormalization(name="folds"),
    )
    twin, done = folded(model, tmp_path)
    assert set(done.kept) == set(batch_norms(twin)) == {"at_the_input", "after_relu"}
    assert [item.batch_norms for item in done.folds] == [("folds",)]


def test_shared_layers(tmp_path):
    """A layer with two uses folds if both are followed by the same batch norm, else it does not."""
    one, other = keras.Input((5,)), keras.Input((5,))
    dense, norm = layers.Dense(5), layers.BatchNormalization(name="shared")
    fork, alone = layers.Dense(5), layers.BatchNormalization(name="alone")
    y = [norm(dense(x)) for x in (one, other)]
    z = [alone(fork(y[0])), layers.ReLU()(fork(y[1]))]
    model = randomize(keras.Model([one, other], layers.Concatenate()(z)))
    twin, done = folded(model, tmp_path)
    assert batch_norms(twin) == ["alone"]
    assert "other uses" in done.kept["alone"]


def test_models_inside_of_models(tmp_path):
    block = keras.Sequential([layers.Conv2D(3, 1), layers.BatchNormalization()], name="block")
    x = keras.Input((4, 4, 3))
    y = layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(x))
    inner_input = keras.Input((4, 4, 3))
    inner = layers.BatchNormalization()(block(inner_input))
    nested = keras.Model(inner_input, [inner, layers.ReLU()(inner)], name="nested")
    one, two = nested(y)
    last = layers.BatchNormalization()(layers.Dense(2)(layers.Flatten()(two)))
    model = randomize(keras.Model(x, [one, last]))
    twin, done = folded(model, tmp_path)
    assert not batch_norms(twin) and not done.kept
    assert {layer.name for layer in all_layers(twin)} < {layer.name for layer in all_layers(model)}


def test_a_model_is_not_emptied(tmp_path):
    norm = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="only")], name="n")
    x = keras.Input((3,))
    y = norm(layers.Dense(4)(x))
    y = layers.BatchNormalization()(layers.Dense(3)(y))
    twin, done = folded(randomize(keras.Model(x, y)), tmp_path)
    assert batch_norms(twin) == ["only"] and list(done.kept) == ["n/only"]


@st.composite
def branches(draw):
    """A network of convolutions and batch norms that branches and joins; shapes never change."""
    keras.utils.clear_session()
    values = [keras.Input((4, 4, 2))]
    for _ in range(draw(st.integers(2, 9))):
        value = values[draw(st.integers(0, len(values) - 1))]
        kind = draw(st.sampled_from(["conv", "conv", "norm", "norm", "add", "relu"]))
        if kind == "conv":
            value = layers.Conv2D(2, 3, padding="same", use_bias=draw(st.booleans()))(value)
        elif kind == "norm":
            value = layers.BatchNormalization()(value)
        elif kind == "add":
            value = layers.Add()([value, values[-1]]) if value is not values[-1] else value
        else:
            value = layers.ReLU()(value)
        values.append(value)
    ends = [values[-1], values[draw(st.integers(1, len(values) - 1))]]
    outputs = layers.Conv2D(2, 1)(layers.Concatenate()(ends))
    return randomize(keras.Model(values[0], layers.BatchNormalization(name="last")(outputs)))


@settings(max_examples=8, deadline=None)
@given(branches())
def test_weights_find_their_layers_in_networks_with_branches(tmp_path_factory, model):
    """Keras orders layers by their depth, which changes where a batch norm vanishes."""
    folder = tmp_path_factory.mktemp("branches")
    twin, done = folded(model, folder)
    assert len(batch_norms(model)) == len(batch_norms(twin)) + sum(
        len(item.batch_norms) for item in done.folds
    )
    again = folder / "again.keras"
    twin.save(again)
    ours, theirs = (
        groups(io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5")))
        for path in (folder / "net_bnfused.keras", again)
    )
    assert ours == theirs


def test_nothing_to_fold_is_said(tmp_path):
    folded(sequential((5,), layers.Dense(3), layers.BatchNormalization()), tmp_path)
    with pytest.raises(ModelFileError, match="the network has none"):
        fold(tmp_path / "net_bnfused.keras")
    after = sequential((5,), layers.BatchNormalization(name="first"), layers.Dense(3))
    after.save(tmp_path / "first.keras")
    with pytest.raises(ModelFileError, match="first is not right after a layer"):
        fold(tmp_path / "first.keras")


def test_the_same_file_gives_the_same_bytes(tmp_path):
    folded(sequential((5,), layers.Dense(3), layers.BatchNormalization()), tmp_path)
    first = (tmp_path / "net_bnfused.keras").read_bytes()
    fold(tmp_path / "net.keras", tmp_path / "b.keras")
    assert (tmp_path / "b.keras").read_bytes() == first


def test_the_name_must_be_one_that_keras_takes(tmp_path):
    sequential((5,), layers.Dense(3), layers.BatchNormalization()).save(tmp_path / "net.keras")
    with pytest.raises(ModelFileError, match=r"suffix \.keras"):
        fold(tmp_path / "net.keras", tmp_path / "net.h5")
    with pytest.raises(ModelFileError, match="overwrite"):
        fold(tmp_path / "net.keras", tmp_path / "net.keras")


# --- files of Keras 1 and 2 -------------------------------------------------------------------

random = np.random.default_rng(2)


def norm_arrays(name, channels):
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{name}/{part}:0": random.uniform(0.5, 1.5, channels) for part in parts}


def test_keras_1(tmp_path):
    config = {
        "class_name": "Sequential",
        "config": [
            layer_config(
                "Convolution1D", "c", nb_filter=4, filter_length=3, border_mode="same", bias=True,
                activation="linear", batch_input_shape=[None, 9, 2], init="glorot_uniform",
            ),
            layer_config("BatchNormalization", "n", axis=-1, mode=0, epsilon=0.01, momentum=0.9),
            layer_config("LeakyReLU", "l", alpha=0.25),
            layer_config("Dropout", "d", p=0.5),
        ],
    }  # fmt: skip
    arrays = {
        "c": {"c_W": random.standard_normal((3, 1, 2, 4)), "c_b": random.standard_normal(4)},
        "n": norm_arrays("n", 4),
    }
    fold(write_h5(tmp_path / "net.h5", config, arrays, "1.2.2"))
    twin = keras.saving.load_model(tmp_path / "net_bnfused.keras")
    x = random.standard_normal((2, 9, 2)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (1, 1), (0, 0)])
    kernel = arrays["c"]["c_W"][:, 0]
    y = sum(padded[:, i : i + 9] @ kernel[i] for i in range(3)) + arrays["c"]["c_b"]
    gamma, beta, mean, variance = arrays["n"].values()
    y = (y - mean) / np.sqrt(variance + 0.01) * gamma + beta
    np.testing.assert_allclose(twin(x), np.where(y > 0, y, 0.25 * y), rtol=0, atol=1e-5)
    assert not batch_norms(twin)


def keras_2(tmp_path, **dense):
    shape = {"batch_input_shape": [None, 5], "dtype": "float32", "sparse": False}
    inner = functional(
        [
            node("InputLayer", "i", [], **shape),
            node("Dense", "d", [[["i", 0, 0, {}]]], units=5, activation="linear", **dense),
            node("BatchNormalization", "n", [[["d", 0, 0, {}]]], axis=[1], epsilon=1e-3),
        ],
        [["i", 0, 0]],
        [["n", 0, 0]],
    )
    nested = {**inner, "name": "m", "inbound_nodes": [[["x", 0, 0, {}]]]}
    nested["config"] = {**inner["config"], "name": "m"}
    config = functional(
        [
            node("InputLayer", "x", [], **shape),
            nested,
            node("Activation", "a", [[["m", 1, 0, {}]]], activation="tanh", trainable=True),
        ],
        [["x", 0, 0]],
        [["m", 1, 0], ["a", 0, 0]],
    )
    arrays = {"d/kernel:0": random.standard_normal((5, 5)), "d/bias:0": random.standard_normal(5)}
    return write_h5(tmp_path / "net.h5", config, {"m": {**arrays, **norm_arrays("n", 5)}}, "2.3.1")


def test_keras_2_with_a_model_inside(tmp_path):
    done = fold(keras_2(tmp_path))
    twin = keras.saving.load_model(tmp_path / "net_bnfused.keras")
    assert not batch_norms(twin) and done.comparison.relative < 1e-6
    x = random.standard_normal((2, 5)).astype(np.float32)
    one, two = twin(x)
    with h5py.File(tmp_path / "net.h5") as file:
        stored = {name: np.asarray(file[f"model_weights/m/{name}"]) for name in
                  ("d/kernel:0", "d/bias:0", *(n for n in norm_arrays("n", 1)))}  # fmt: skip
    kernel, bias, gamma, beta, mean, variance = stored.values()
    y = (x @ kernel + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(one, y, rtol=0, atol=1e-5)
    np.testing.assert_allclose(two, np.tanh(y), rtol=0, atol=1e-5)


def test_what_keras_3_computes_otherwise_is_refused(tmp_path):
    path = keras_2(tmp_path)
    with h5py.File(path, "a") as file:
        text = file.attrs["model_config"].replace('"tanh"', '"hard_sigmoid"')
        assert json.loads(text)
        file.attrs["model_config"] = text
    with pytest.raises(UnsupportedLayerError, match="another function since Keras 3"):
        fold(path)
