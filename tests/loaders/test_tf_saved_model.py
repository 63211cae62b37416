"""SavedModels of Keras, of tf.Module and of TensorFlow 1, against TensorFlow."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from tf_oracle import assert_close, run, samples_of, tf, tf1, weights

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.loaders.tf.graph import is_graph_def
from mcu_export.loaders.tf.saved_model import is_saved_model, load_saved_model

SHAPE = (12, 10, 3)
SAMPLES = samples_of((None, *SHAPE))
layers = tf.keras.layers


def kinds(graph):
    return [node.op.kind for node in graph.nodes]


def trained(model):
    """The model with batch norms whose parameters are all different."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for seed, variable in enumerate(layer.weights):
                variable.assign(np.abs(weights(*variable.shape, seed=seed)) + 0.1)
    return model


def mobile():
    x = y = tf.keras.Input(SHAPE)
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(epsilon=0.01)(y)
    y = layers.ReLU(6.0)(y)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(y)
    y = layers.BatchNormalization()(y)
    y = layers.Activation("relu")(y)
    y = layers.Dropout(0.4)(y)
    y = layers.GlobalAveragePooling2D()(y)
    return tf.keras.Model(x, layers.Dense(5, activation="softmax")(y))


def residual():
    x = tf.keras.Input(SHAPE)
    y = layers.ZeroPadding2D(((1, 2), (0, 1)))(x)
    y = layers.Conv2D(3, (4, 2), activation="relu")(y)
    y = layers.Add()([x, y])
    y = layers.MaxPooling2D(2)(y)
    y = layers.Flatten()(y)
    y = layers.Dense(7, use_bias=False)(y)
    y = layers.BatchNormalization(scale=False)(y)
    return tf.keras.Model(x, layers.Dense(4)(layers.ReLU()(y)))


def one_dimensional():
    x = tf.keras.Input(SHAPE)
    y = layers.Reshape((60, 6))(x)
    y = layers.Conv1D(8, 5, strides=2, padding="same", activation="relu")(y)
    y = layers.BatchNormalization()(y)
    y = layers.AveragePooling1D(3)(y)
    y = layers.Dense(6)(y)
    y = layers.GlobalMaxPooling1D()(y)
    return tf.keras.Model(x, layers.Dense(4)(y))


def separable():
    x = tf.keras.Input(SHAPE)
    y = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, activation="relu")(x)
    y = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(y)
    y = layers.Conv2D(4, 3, dilation_rate=(2, 1))(y)
    return tf.keras.Model(x, layers.GlobalAveragePooling2D()(layers.Rescaling(0.5, offset=-1)(y)))


def nested():
    x = tf.keras.Input(SHAPE)
    inner = tf.keras.Sequential(
        [layers.Conv2D(3, 3, padding="same", activation="relu"), layers.BatchNormalization()]
    )
    return tf.keras.Model(x, layers.GlobalAveragePooling2D()(inner(inner(x))))


MODELS = {model.__name__: model for model in (mobile, residual, one_dimensional, separable, nested)}


def keras_export(model, folder):
    model.export(folder, verbose=False)


def tensorflow_save(model, folder):
    tf.saved_model.save(model, folder)


@pytest.mark.parametrize("save", [keras_export, tensorflow_save])
@pytest.mark.parametrize("name", MODELS)
def test_keras(name, save, tmp_path):
    tf.keras.utils.set_random_seed(3)
    model = trained(MODELS[name]())
    save(model, str(tmp_path / "saved"))
    assert is_saved_model(tmp_path / "saved")
    graph = load_saved_model(tmp_path / "saved")
    assert_close(run(graph, SAMPLES), model(SAMPLES, training=False).numpy())
    assert load_saved_model(tmp_path / "saved" / "saved_model.pb").macs() == graph.macs()


def test_keras_batch_norms_are_recognized(tmp_path):
    keras_export(trained(mobile()), str(tmp_path))
    graph = load_saved_model(tmp_path)
    norms = [node for node in graph.nodes if node.op.kind == "batch_norm"]
    assert [norm.op.epsilon for norm in norms] == [0.01, 0.001]
    assert all(np.ptp(norm.params["gamma"]) > 0.1 for norm in norms)
    assert kinds(graph)[-2:] == ["dense", "softmax"]
    assert not [node.name for node in graph.nodes if "PartitionedCall" in node.name]
    assert graph.details == {
        "format": "TensorFlow SavedModel",
        "signature": "serving_default",
    }


class Shared(tf.Module):
    """Two functions, one called twice, on variables with one name."""

    def __init__(self):
        super().__init__()
        self.first = tf.Variable(weights(3, 3, 3, 3), name="kernel")
        self.second = tf.Variable(weights(3, 3, 3, 3, seed=1), name="kernel")
        self.spare = tf.Variable(weights(3, 3, 3, 3, seed=2), name="kernel")

    @tf.function
    def layer(self, x, kernel):
        return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32)])
    def __call__(self, x):
        y = self.layer(self.layer(x, self.second), self.first)
        return {"scores": tf.reduce_mean(y, [1, 2])}


def test_functions_that_are_called_twice(tmp_path):
    module = Shared()
    tf.saved_model.save(module, str(tmp_path))
    graph = load_saved_model(tmp_path)
    assert kinds(graph) == ["conv2d", "clamp", "conv2d", "clamp", "average_pool2d", "reshape"]
    assert_close(run(graph, SAMPLES), module(tf.constant(SAMPLES))["scores"].numpy())


def test_two_outputs(tmp_path):
    class TwoOutputs(Shared):
        @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32)])
        def __call__(self, x):
            y = self.layer(x, self.first)
            return {"b": tf.reduce_max(y, [1, 2]), "a": tf.reduce_mean(y, [1, 2])}

    module = TwoOutputs()
    tf.saved_model.save(module, str(tmp_path))
    graph = load_saved_model(tmp_path)
    expected = module(tf.constant(SAMPLES))
    assert len(graph.outputs) == 2
    assert_close(run(graph, SAMPLES), expected["a"].numpy())


def test_the_one_signature_that_there_is(tmp_path):
    module = Shared()
    tf.saved_model.save(module, str(tmp_path), signatures={"score": module.__call__})
    graph = load_saved_model(tmp_path)
    assert graph.details["signature"] == "score"
    assert_close(run(graph, SAMPLES), module(tf.constant(SAMPLES))["scores"].numpy())


def test_several_signatures_and_none_is_the_default(tmp_path):
    module = Shared()
    signatures = {"one": module.__call__, "two": module.__call__}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    with pytest.raises(ModelFileError, match="one, two"):
        load_saved_model(tmp_path)


def test_no_signature(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelFileError, match="none at all"):
        load_saved_model(tmp_path)


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_tensorflow_1(resource, training, tmp_path):
    """With ``training`` the batch norm is in training form beside its moving averages."""
    with tf.Graph().as_default(), tf1.variable_scope("net", use_resource=resource):
        x = tf1.placeholder(tf.float32, (None, *SHAPE), name="image")
        kernel = tf1.get_variable("kernel", initializer=weights(3, 3, 3, 4))
        gamma = tf1.get_variable("gamma", initializer=weights(4) + 1)
        mean = tf1.get_variable("mean", initializer=weights(4, seed=1))
        variance = tf1.get_variable("variance", initializer=np.abs(weights(4, seed=2)) + 0.1)
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
        stored = tf1.nn.fused_batch_norm(y, gamma, gamma, mean, variance, 0.01, is_training=False)[
            0
        ]
        norm = stored
        if training:
            norm, batch_mean, batch_variance = tf1.nn.fused_batch_norm(
                y, gamma, gamma, None, None, 0.01
            )
            tf1.assign_sub(mean, (mean - batch_mean) * 0.1)
            tf1.assign_sub(variance, (variance - batch_variance) * 0.1)
        result = tf.nn.relu(norm, name="result")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            expected = session.run(tf.nn.relu(stored), {x: SAMPLES})
            tf1.saved_model.simple_save(session, str(tmp_path / "v1"), {"x": x}, {"y": result})
    graph = load_saved_model(tmp_path / "v1")
    assert kinds(graph) == ["conv2d", "batch_norm", "clamp"]
    assert_close(run(graph, SAMPLES), expected)


def test_recurrent_layers_are_refused(tmp_path):
    x = tf.keras.Input((6, 4))
    keras_export(tf.keras.Model(x, layers.GRU(3, reset_after=True)(x)), str(tmp_path))
    with pytest.raises(UnsupportedLayerError, match="recurrent"):
        load_saved_model(tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "model"
    tf.saved_model.save(Shared(), str(folder))
    return folder


def test_no_saved_model(tmp_path, sound):
    assert not is_saved_model(tmp_path)
    assert not is_saved_model(tmp_path / "nothing")
    assert not is_graph_def(sound / "saved_model.pb")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_saved_model(tmp_path)


@pytest.mark.parametrize(
    "file",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
def test_cut_off(file, sound, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    content = (sound / file).read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        (folder / file).write_bytes(content[:length])
        with pytest.raises(McuExportError):
            load_saved_model(folder)
    (folder / file).unlink()
    with pytest.raises(ModelFileError):
        load_saved_model(folder)


def test_damaged_variables(sound, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    file = folder / "variables/variables.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match="checksum"):
        load_saved_model(folder)


@pytest.mark.real
def test_mlperf_keyword_spotting(data_dir):
    folder = data_dir / "mlperf_tiny" / "keyword_spotting"
    graph = load_saved_model(folder / "kws_ref_model")
    with np.load(folder / "sc02_features_float_240.npz") as file:
        samples, labels = file["x"].astype(np.float32), file["y"]
    scores = run(graph, samples)
    assert int(np.sum(scores.argmax(axis=1) == labels)) == 221
    assert graph.macs() == 2_656_768
    with tf.Graph().as_default(), tf1.Session() as session:
        meta = tf1.saved_model.load(session, ["serve"], str(folder / "kws_ref_model"))
        signature = meta.signature_def["serving_default"]
        (x,), (y,) = signature.inputs.values(), signature.outputs.values()
        expected = session.run(y.name, {x.name: samples})
    assert_close(scores, expected)


@pytest.mark.real
def test_tensorflow_is_not_imported(data_dir):
    folder = data_dir / "mlperf_tiny" / "keyword_spotting" / "kws_ref_model"
    code = (
        "import sys; from pathlib import Path; from mcu_export.loaders.tf.saved_model import *;"
        f"load_saved_model(Path({str(folder)!r}));"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('tensorflow', 'keras')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
