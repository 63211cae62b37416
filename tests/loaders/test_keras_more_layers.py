"""Layers that enlarge, join, cut and bend: Keras computes what the loaded graph must compute."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from keras_oracle import check_formats, randomize, sequential

from mcu_export.ops import DepthwiseConv2D


def transposed(*args, **options):
    return lambda: layers.Conv2DTranspose(*args, **options)


def transposed_1d(*args, **options):
    return lambda: layers.Conv1DTranspose(*args, **options)


TRANSPOSED = {
    "valid": ((4, 5, 3), transposed(2, 3)),
    "valid, stride 2": ((4, 5, 3), transposed(2, 3, strides=2, activation="relu")),
    "valid, stride above kernel": ((4, 3, 2), transposed(3, 2, strides=3)),
    "same": ((4, 5, 3), transposed(2, 3, padding="same")),
    "same, stride 2": ((4, 5, 3), transposed(2, 3, strides=2, padding="same")),
    "same, even kernel": ((4, 5, 3), transposed(2, (4, 2), strides=2, padding="same")),
    "same, stride 3x2": ((3, 4, 1), transposed(2, (3, 5), strides=(3, 2), padding="same")),
    "same, stride above kernel": ((3, 4, 2), transposed(2, 2, strides=3, padding="same")),
    "no bias": ((4, 5, 3), transposed(2, 3, strides=2, use_bias=False)),
    "valid, output padding": ((4, 5, 2), transposed(2, 3, strides=2, output_padding=1)),
    "same, output padding": (
        (4, 5, 2),
        transposed(2, 3, strides=(2, 3), padding="same", output_padding=(1, 0)),
    ),
    "1d valid": ((6, 3), transposed_1d(2, 3)),
    "1d same, stride 2": ((6, 3), transposed_1d(2, 4, strides=2, padding="same")),
    "1d output padding": ((6, 3), transposed_1d(2, 3, strides=2, output_padding=1)),
}

GROUPS = {
    "groups": ((6, 7, 4), lambda: layers.Conv2D(6, 3, groups=2, padding="same", strides=2)),
    "three groups": ((6, 7, 6), lambda: layers.Conv2D(3, 2, groups=3, activation="relu")),
    "groups of a sequence": ((9, 4), lambda: layers.Conv1D(6, 3, groups=2)),
    "a group for each channel": ((6, 7, 3), lambda: layers.Conv2D(6, 3, groups=3)),
}

ACTIVATIONS = {
    **{
        name: ((5, 4), lambda name=name: layers.Activation(name))
        for name in (
            "celu",
            "elu",
            "exponential",
            "gelu",
            "hard_sigmoid",
            "hard_silu",
            "hard_swish",
            "leaky_relu",
            "mish",
            "selu",
            "sigmoid",
            "silu",
            "softplus",
            "softsign",
            "sparse_sigmoid",
            "swish",
            "tanh",
        )
    },
    "in a convolution": ((5, 5, 2), lambda: layers.Conv2D(3, 2, activation="swish")),
    "a layer in a layer": ((4,), lambda: layers.Dense(3, activation=layers.LeakyReLU(0.4))),
    "an elu layer in a layer": ((4,), lambda: layers.Dense(3, activation=layers.ELU(0.4))),
    "leaky": ((5, 4), lambda: layers.LeakyReLU(0.15)),
    "elu layer": ((5, 4), lambda: layers.ELU(0.7)),
    "relu, slope": ((5, 4), lambda: layers.ReLU(negative_slope=0.3)),
    "relu, slope and limit": ((5, 4), lambda: layers.ReLU(0.5, negative_slope=0.3)),
    "prelu of a vector": ((6,), layers.PReLU),
    "prelu by channel": ((4, 3, 5), lambda: layers.PReLU(shared_axes=[1, 2])),
    "prelu by channel of a sequence": ((4, 5), lambda: layers.PReLU(shared_axes=[1])),
    "prelu of one slope": ((4, 5), lambda: layers.PReLU(shared_axes=[1, 2])),
    "prelu by element": ((4, 3, 2), layers.PReLU),
    "prelu by row": ((4, 3, 2), lambda: layers.PReLU(shared_axes=[2, 3])),
    "in steps": ((3, 4), lambda: layers.TimeDistributed(layers.Activation("tanh"))),
}

MOVES = {
    "upsampling": ((3, 4, 2), layers.UpSampling2D),
    "upsampling, 2x3": ((3, 4, 2), lambda: layers.UpSampling2D((2, 3))),
    "upsampling 1d": ((5, 3), lambda: layers.UpSampling1D(3)),
    "upsampling in steps": ((2, 5, 3), lambda: layers.TimeDistributed(layers.UpSampling1D(2))),
    "cropping": ((6, 7, 2), lambda: layers.Cropping2D(((1, 2), (0, 3)))),
    "cropping, one number": ((6, 7, 2), lambda: layers.Cropping2D(2)),
    "cropping 1d": ((8, 3), lambda: layers.Cropping1D((1, 3))),
    "permute": ((3, 4), lambda: layers.Permute((2, 1))),
    "permute three": ((3, 4, 5), lambda: layers.Permute((3, 1, 2))),
    "repeated": ((4,), lambda: layers.RepeatVector(3)),
}

KINDS = {
    "transposed": TRANSPOSED,
    "groups": GROUPS,
    "activation": ACTIVATIONS,
    "move": MOVES,
}
CASES = [
    pytest.param(*case, id=f"{kind}: {name}")
    for kind, cases in KINDS.items()
    for name, case in cases.items()
]


@pytest.mark.parametrize(("shape", "make"), CASES)
def test_layer_computes_what_keras_computes(shape, make, tmp_path):
    model = sequential(shape, layers.Dense(shape[-1], name="first"), make())
    check_formats(model, tmp_path)


MERGES = {
    "add": layers.Add,
    "average": layers.Average,
    "maximum": layers.Maximum,
    "minimum": layers.Minimum,
    "multiply": layers.Multiply,
    "concatenate": layers.Concatenate,
    "concatenate rows": lambda: layers.Concatenate(axis=1),
}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("make", MERGES.values(), ids=MERGES)
def test_merges(make, count, tmp_path):
    source = keras.Input((4, 3))
    parts = [layers.Dense(5, activation=a)(source) for a in ("relu", None, "tanh")[:count]]
    check_formats(randomize(keras.Model(source, make()(parts))), tmp_path)


def test_subtraction(tmp_path):
    left, right = keras.Input((4, 3)), keras.Input((4, 3))
    check_formats(keras.Model([left, right], layers.Subtract()([left, right])), tmp_path)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("merge", [layers.Multiply, layers.Add, layers.Subtract, layers.Maximum])
def test_one_value_for_each_channel_of_an_image(merge, kept, tmp_path):
    """Squeeze and excitation: the operands have different shapes, perhaps different ranks."""
    image = keras.Input((5, 4, 3))
    gate = layers.GlobalAveragePooling2D(keepdims=kept)(image)
    gate = layers.Dense(3, activation="sigmoid")(gate)
    model = randomize(keras.Model(image, merge()([image, gate])))
    check_formats(model, tmp_path)


def test_images_side_by_side_along_every_axis(tmp_path):
    source = keras.Input((5, 4, 3))
    other = layers.Conv2D(3, 1)(source)
    joined = [layers.Concatenate(axis=axis)([source, other]) for axis in (1, 2, 3, -1, -2, -3)]
    check_formats(randomize(keras.Model(source, joined)), tmp_path)


def test_groups_of_one_channel_are_a_depthwise_convolution(tmp_path):
    graph = check_formats(sequential((6, 5, 4), layers.Conv2D(8, 3, groups=4)), tmp_path)
    assert [type(node.op) for node in graph.nodes] == [DepthwiseConv2D]
    assert graph.macs() == 4 * 3 * 8 * 9


def test_weights_of_new_layers_keep_their_order(tmp_path):
    """A nested model lists trainable weights of all its layers, then the others."""
    inside = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2DTranspose(3, 3, strides=2),
            layers.BatchNormalization(),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Conv2D(6, 3, groups=3),
        ]
    )
    model = keras.Sequential([keras.Input((4, 4, 2)), inside, layers.GlobalMaxPooling2D()])
    graph = check_formats(randomize(model), tmp_path)
    assert np.isfinite(graph.node(graph.outputs[0]).shape[0])
