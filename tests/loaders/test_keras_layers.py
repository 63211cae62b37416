"""Every layer by itself: Keras computes what the loaded graph must compute."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from keras_oracle import check_formats, outputs_of, randomize, samples_of, sequential

from mcu_export.graph import dump
from mcu_export.loaders.keras.model import load_keras


def small_model() -> keras.Model:
    """Conv, batch norm and mean of an image (6, 5, 2)."""
    conv, norm = layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()
    return keras.Sequential([keras.Input((6, 5, 2)), conv, norm, layers.GlobalAveragePooling2D()])


CONVOLUTIONS = {
    "conv": ((9, 7, 3), lambda: layers.Conv2D(5, 3)),
    "same, stride 2, even": ((10, 8, 3), lambda: layers.Conv2D(4, 3, strides=2, padding="same")),
    "same, stride 2, odd": ((9, 7, 2), lambda: layers.Conv2D(4, 3, strides=2, padding="same")),
    "same, stride 3x2": ((11, 8, 1), lambda: layers.Conv2D(4, (10, 4), (3, 2), padding="same")),
    "dilation": ((12, 9, 2), lambda: layers.Conv2D(3, 3, dilation_rate=(2, 1), padding="same")),
    "no bias": ((6, 6, 2), lambda: layers.Conv2D(3, 2, use_bias=False)),
    "relu": ((6, 6, 2), lambda: layers.Conv2D(3, 2, activation="relu")),
    "softmax": ((6, 6, 2), lambda: layers.Conv2D(3, 2, activation="softmax")),
    "depthwise": ((9, 8, 3), lambda: layers.DepthwiseConv2D(3, padding="same")),
    "depthwise x3": ((9, 8, 2), lambda: layers.DepthwiseConv2D((3, 2), 2, depth_multiplier=3)),
    "depthwise, no bias": ((9, 8, 2), lambda: layers.DepthwiseConv2D(2, use_bias=False)),
    "depthwise, dilation": ((9, 8, 2), lambda: layers.DepthwiseConv2D(3, dilation_rate=2)),
    "separable": ((9, 8, 3), lambda: layers.SeparableConv2D(4, 3, 2, padding="same")),
    "separable x2": (
        (9, 8, 3),
        lambda: layers.SeparableConv2D(4, 3, depth_multiplier=2, activation="relu6"),
    ),
    "conv 1d": ((17, 3), lambda: layers.Conv1D(4, 5)),
    "conv 1d same": ((17, 3), lambda: layers.Conv1D(4, 5, 2, padding="same", activation="relu")),
    "conv 1d causal": ((17, 3), lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    "conv 1d causal stride": ((16, 3), lambda: layers.Conv1D(4, 3, 2, padding="causal")),
    "separable 1d": ((17, 3), lambda: layers.SeparableConv1D(4, 3, 2, padding="same")),
    "depthwise 1d": ((17, 3), lambda: layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "dense": ((7,), lambda: layers.Dense(5)),
    "dense, no bias": ((7,), lambda: layers.Dense(5, use_bias=False, activation="softmax")),
    "dense on a sequence": ((6, 7), lambda: layers.Dense(5, activation="relu")),
    "dense on an image": ((3, 6, 7), lambda: layers.Dense(5)),
}

POOLINGS = {
    "max": ((9, 7, 3), layers.MaxPooling2D),
    "max same": ((9, 7, 3), lambda: layers.MaxPooling2D((3, 2), (2, 3), padding="same")),
    "average": ((9, 7, 3), lambda: layers.AveragePooling2D((2, 3))),
    "average same": ((9, 7, 3), lambda: layers.AveragePooling2D(3, 2, padding="same")),
    "max 1d": ((11, 3), lambda: layers.MaxPooling1D(3, 2)),
    "max 1d same": ((11, 3), lambda: layers.MaxPooling1D(3, padding="same")),
    "average 1d": ((11, 3), lambda: layers.AveragePooling1D(2)),
    "average 1d same": ((11, 3), lambda: layers.AveragePooling1D(4, 3, padding="same")),
    "global average": ((5, 7, 3), layers.GlobalAveragePooling2D),
    "global average, kept": ((5, 7, 3), lambda: layers.GlobalAveragePooling2D(keepdims=True)),
    "global max": ((5, 7, 3), layers.GlobalMaxPooling2D),
    "global max, kept": ((5, 7, 3), lambda: layers.GlobalMaxPooling2D(keepdims=True)),
    "global average 1d": ((7, 3), layers.GlobalAveragePooling1D),
    "global average 1d, kept": ((7, 3), lambda: layers.GlobalAveragePooling1D(keepdims=True)),
    "global max 1d": ((7, 3), layers.GlobalMaxPooling1D),
    "global max 1d, kept": ((7, 3), lambda: layers.GlobalMaxPooling1D(keepdims=True)),
}

ACTIVATIONS = {
    "relu": ((5, 4), layers.ReLU),
    "relu, limit": ((5, 4), lambda: layers.ReLU(max_value=0.75)),
    "activation relu": ((5, 4), lambda: layers.Activation("relu")),
    "activation relu6": ((5, 4), lambda: layers.Activation("relu6")),
    "activation linear": ((5, 4), lambda: layers.Activation("linear")),
    "activation hard tanh": ((5, 4), lambda: layers.Activation("hard_tanh")),
    "activation softmax": ((5, 4), lambda: layers.Activation("softmax")),
    "a layer as activation": ((5, 4), lambda: layers.Dense(6, activation=layers.ReLU(1.0))),
    "a softmax layer as activation": ((4,), lambda: layers.Dense(6, activation=layers.Softmax())),
    "softmax": ((5, 4), layers.Softmax),
    "softmax, axis 2": ((5, 4), lambda: layers.Softmax(axis=2)),
}

SHAPES = {
    "flatten": ((3, 4, 2), layers.Flatten),
    "flatten a vector": ((3,), layers.Flatten),
    "reshape": ((3, 4, 2), lambda: layers.Reshape((4, 6))),
    "reshape, -1": ((3, 4, 2), lambda: layers.Reshape((-1, 3, 2))),
    "reshape to a vector": ((3, 4, 2), lambda: layers.Reshape((-1,))),
    "permute": ((1, 4, 2), lambda: layers.Permute((2, 1, 3))),
    "zero padding": ((3, 4, 2), layers.ZeroPadding2D),
    "zero padding, two": ((3, 4, 2), lambda: layers.ZeroPadding2D((1, 2))),
    "zero padding, four": ((3, 4, 2), lambda: layers.ZeroPadding2D(((0, 1), (2, 3)))),
    "zero padding 1d": ((3, 4), lambda: layers.ZeroPadding1D(2)),
    "zero padding 1d, two": ((3, 4), lambda: layers.ZeroPadding1D((0, 2))),
    "cropping nothing": ((3, 4, 2), lambda: layers.Cropping2D(0)),
}

NORMALIZATIONS = {
    "batch norm": ((4, 3, 5), layers.BatchNormalization),
    "batch norm of a vector": ((5,), lambda: layers.BatchNormalization(epsilon=0.01)),
    "batch norm of a sequence": ((4, 5), lambda: layers.BatchNormalization(axis=2)),
    "batch norm, axis 3": ((4, 3, 5), lambda: layers.BatchNormalization(axis=3)),
    "no scale": ((4, 3, 5), lambda: layers.BatchNormalization(scale=False)),
    "no center": ((4, 3, 5), lambda: layers.BatchNormalization(center=False)),
    "neither": ((4, 3, 5), lambda: layers.BatchNormalization(scale=False, center=False)),
    "rescaling": ((4, 3, 2), lambda: layers.Rescaling(0.25, offset=-1.0)),
    "rescaling by channel": ((4, 3, 2), lambda: layers.Rescaling([0.25, 4.0], [1.0, -1.0])),
    "normalization": ((4, 3, 2), lambda: adapted(layers.Normalization())),
    "normalization, given": (
        (4, 3, 2),
        lambda: layers.Normalization(mean=[1.0, -2.0], variance=[0.5, 0.0]),
    ),
    "normalization, one number": (
        (4, 3),
        lambda: layers.Normalization(axis=None, mean=1.5, variance=4.0),
    ),
    "normalization, inverted": (
        (4, 2),
        lambda: layers.Normalization(mean=[1.0, -2.0], variance=[0.5, 3.0], invert=True),
    ),
}

TRAINING_ONLY = {
    one: ((6, 4, 3) if "2D" in one or "Random" in one else (6, 4), lambda one=one: made(one))
    for one in (
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "RandomContrast",
        "RandomFlip",
        "RandomRotation",
        "RandomTranslation",
        "RandomZoom",
        "SpatialDropout1D",
        "SpatialDropout2D",
    )
}


def adapted(layer: layers.Normalization) -> layers.Normalization:
    random = np.random.default_rng(5)
    layer.adapt(random.normal([1.0, -2.0], [0.5, 3.0], (9, 4, 3, 2)).astype(np.float32))
    return layer


def made(class_name: str) -> layers.Layer:
    options = {"ActivityRegularization": {"l2": 0.1}, "RandomFlip": {}}
    options["RandomTranslation"] = {"height_factor": 0.2, "width_factor": 0.2}
    cls = getattr(layers, class_name)
    return cls(**options[class_name]) if class_name in options else cls(0.3)


STEPS = {
    "dense": ((5, 4), lambda: layers.TimeDistributed(layers.Dense(3, activation="relu"))),
    "conv 1d": ((3, 9, 2), lambda: layers.TimeDistributed(layers.Conv1D(4, 3, padding="same"))),
    "conv 2d": ((3, 6, 5, 2), lambda: layers.TimeDistributed(layers.Conv2D(4, 3, 2))),
    "separable 2d": ((2, 6, 5, 2), lambda: layers.TimeDistributed(layers.SeparableConv2D(4, 3))),
    "global 2d": ((2, 6, 5, 2), lambda: layers.TimeDistributed(layers.GlobalMaxPooling2D())),
    "one step": ((1, 6, 5, 2), lambda: layers.TimeDistributed(layers.MaxPooling2D(2))),
    "pooling": ((3, 9, 2), lambda: layers.TimeDistributed(layers.MaxPooling1D(2))),
    "global": ((3, 9, 2), lambda: layers.TimeDistributed(layers.GlobalAveragePooling1D())),
    "batch norm": ((3, 4), lambda: layers.TimeDistributed(layers.BatchNormalization())),
    "image norm": ((2, 3, 2, 4), lambda: layers.TimeDistributed(layers.BatchNormalization(axis=3))),
    "model": ((3, 6, 5, 2), lambda: layers.TimeDistributed(small_model())),
    "flatten": ((3, 4, 2), lambda: layers.TimeDistributed(layers.Flatten())),
    "reshape": ((3, 4, 2), lambda: layers.TimeDistributed(layers.Reshape((-1, 4)))),
    "activation": ((3, 4, 2), lambda: layers.TimeDistributed(layers.Activation("relu"))),
}

GROUPS = {
    "convolution": CONVOLUTIONS,
    "pooling": POOLINGS,
    "activation": ACTIVATIONS,
    "shape": SHAPES,
    "normalization": NORMALIZATIONS,
    "training only": TRAINING_ONLY,
    "time distributed": STEPS,
}
CASES = [
    pytest.param(*case, id=f"{group}: {name}")
    for group, cases in GROUPS.items()
    for name, case in cases.items()
]


@pytest.mark.parametrize(("shape", "make"), CASES)
def test_layer_computes_what_keras_computes(shape, make, tmp_path):
    # The 1x1 layer around it makes sure that there is more than one layer to keep apart.
    model = sequential(shape, layers.Dense(shape[-1], name="first"), make())
    check_formats(model, tmp_path)


def test_sums_of_two_and_three_tensors(tmp_path):
    source = keras.Input((4, 3))
    parts = [layers.Dense(2, activation=a)(source) for a in ("relu", None, None)]
    both = layers.Add(name="both")(parts[:2])
    model = randomize(keras.Model(source, [both, layers.add([both, *parts])]))
    graph = check_formats(model, tmp_path)
    assert sum(item.op.kind == "add" for item in graph.nodes) == 4


def test_nodes_bear_the_names_of_the_layers(tmp_path):
    source = keras.Input((8, 3), name="sound")
    model = keras.Model(source, layers.Conv1D(4, 3, activation="relu", name="hear")(source))
    assert dump(check_formats(randomize(model), tmp_path)).splitlines() == [
        "input  sound [8,3]",
        "node   hear/image = reshape<shape=1x8x3>(sound) [1,8,3]",
        "node   hear = conv2d(hear/image) [1,6,4] bias[4] weights[4,1,3,3]",
        "node   hear/relu = clamp<limits=relu>(hear) [1,6,4]",
        "node   hear/sequence = reshape<shape=6x4>(hear/relu) [6,4]",
        "output hear/sequence",
    ]


def test_epsilon_can_be_given(tmp_path):
    model = sequential((4,), layers.BatchNormalization(epsilon=0.1))
    same = sequential((4,), layers.BatchNormalization(epsilon=0.7))
    path = tmp_path / "network.keras"
    model.save(path)
    graph = load_keras(path, bn_epsilon=0.7)
    samples = samples_of(graph)
    wanted = same(next(iter(samples.values())), training=False)
    np.testing.assert_allclose(outputs_of(graph, samples)[0], wanted, rtol=1e-5)
