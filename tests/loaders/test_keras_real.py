"""Real networks, against TensorFlow ops driven by hand and TFLite files of the same networks.

The oracle reads the weights with h5py and calls ``tf.nn`` for each layer of the configuration; it
shares no code with the loader. Keras itself cannot load all of these files anymore.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

from mcu_export.graph import Graph, run_float
from mcu_export.loaders.keras.model import is_keras, load_keras

pytestmark = pytest.mark.real

TOLERANCE = 1e-4

NETWORKS = {
    "anomaly_detection/ad01.h5": (264_192, (640,), (640,)),
    "image_classification/pretrainedResnet.h5": (12_501_632, (32, 32, 3), (10,)),
    "streaming_wakeword/str_ww_ref_model.h5": (826_368, (30, 1, 40), (3,)),
    "visual_wake_words/vww_96.h5": (7_489_664, (96, 96, 3), (2,)),
}


def by_hand(path: Path, x: np.ndarray) -> np.ndarray:
    """The functional model in an ``.h5`` file, layer by layer with TensorFlow ops."""
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])["config"]
        root = file["model_weights"]
        values: dict[str, Any] = {}
        for layer in config["layers"]:
            name, settings = layer["name"], layer["config"]
            stored = weights_of(root[name])
            taken = [values[one[0]] for one in (layer["inbound_nodes"] or [[]])[0]]
            values[name] = LAYERS[layer["class_name"]](settings, stored, taken) if taken else x
    return np.asarray(values[config["output_layers"][0][0]])


def weights_of(group: Any) -> dict[str, np.ndarray]:
    """Arrays of a layer by what they are: ``kernel``, ``bias``, ``gamma`` and so on."""
    names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["weight_names"]]
    return {name.rpartition("/")[2].removesuffix(":0"): group[name][()] for name in names}


def activated(settings: dict[str, Any], y: Any) -> Any:
    return {"linear": tf.identity, "relu": tf.nn.relu, "softmax": tf.nn.softmax}[
        settings["activation"]
    ](y)


def biased(settings: dict[str, Any], w: dict[str, Any], y: Any) -> Any:
    return activated(settings, y + w["bias"] if settings["use_bias"] else y)


def conv(settings: dict[str, Any], w: dict[str, Any], x: list[Any]) -> Any:
    padding, dilation = settings["padding"].upper(), settings["dilation_rate"]
    y = tf.nn.conv2d(x[0], w["kernel"], settings["strides"], padding, dilations=dilation)
    return biased(settings, w, y)


def depthwise(settings: dict[str, Any], w: dict[str, Any], x: list[Any]) -> Any:
    strides = [1, *settings["strides"], 1]
    y = tf.nn.depthwise_conv2d(
        x[0], w["depthwise_kernel"], strides, settings["padding"].upper(), None, None
    )
    return biased(settings, w, y)


def batch_norm(settings: dict[str, Any], w: dict[str, Any], x: list[Any]) -> Any:
    assert settings["axis"] in (-1, [len(x[0].shape) - 1])
    return tf.nn.batch_normalization(
        x[0], w["moving_mean"], w["moving_variance"], w["beta"], w["gamma"], settings["epsilon"]
    )


def average(settings: dict[str, Any], w: dict[str, Any], x: list[Any]) -> Any:
    return tf.nn.avg_pool2d(
        x[0], settings["pool_size"], settings["strides"], settings["padding"].upper()
    )


LAYERS = {
    "Activation": lambda settings, w, x: activated(settings, x[0]),
    "Add": lambda settings, w, x: tf.add_n(x),
    "AveragePooling2D": average,
    "BatchNormalization": batch_norm,
    "Conv2D": conv,
    "Dense": lambda settings, w, x: biased(settings, w, x[0] @ w["kernel"]),
    "DepthwiseConv2D": depthwise,
    "Dropout": lambda settings, w, x: x[0],
    "Flatten": lambda settings, w, x: tf.reshape(x[0], (x[0].shape[0], -1)),
}


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run_float(graph, {graph.inputs[0].name: x})[graph.outputs[0]]


@pytest.mark.parametrize("name", NETWORKS)
def test_real_networks_compute_the_same(name, data_dir):
    path = data_dir / "mlperf_tiny" / name
    macs, taken, given = NETWORKS[name]
    assert is_keras(path)
    graph = load_keras(path)
    assert graph.macs() == macs
    assert graph.inputs[0].shape == taken
    x = np.random.default_rng(0).uniform(-1, 1, (4, *taken)).astype(np.float32)
    x *= 100 if len(taken) == 1 or taken[-1] == 3 else 1
    wanted, got = by_hand(path, x), run(graph, x)
    assert got.shape == (4, *given)
    assert np.abs(got - wanted).max() <= TOLERANCE * np.abs(wanted).max()


def test_resnet_equals_its_float_tflite_on_real_images(data_dir):
    folder = data_dir / "mlperf_tiny" / "image_classification"
    graph = load_keras(folder / "pretrainedResnet.h5")
    interpreter = tf.lite.Interpreter(str(folder / "pretrainedResnet.tflite"))
    x = np.load(folder / "cifar10_test_jpeg_1000.npz")["x"][:50].astype(np.float32)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.abs(run(graph, x) - wanted).max() < TOLERANCE


def test_every_keras_file_of_the_data_loads(data_dir):
    paths = [path for path in sorted(data_dir.rglob("*")) if path.suffix in (".h5", ".keras")]
    assert len(paths) >= len(NETWORKS)
    for path in paths:
        assert load_keras(path).parameters() > 1000


def test_the_example_of_the_firmware_keeps_its_accuracy():
    folder = Path(__file__).resolve().parents[2] / "firmware" / "models" / "kws"
    graph = load_keras(folder / "kws.keras")
    test = np.load(folder / "test.npz")
    got = run(graph, test["features"].astype(np.float32))
    assert (got.argmax(axis=1) == test["labels"]).mean() == pytest.approx(0.9069, abs=1e-4)
