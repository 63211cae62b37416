"""From a Keras file to C: networks that join, gate, cut and enlarge give the reference's bytes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_oracle import randomize

import mcu_export
from mcu_export.build import Target
from mcu_export.exported import open_export
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.verify import random_inputs, verify


def decoder() -> keras.Model:
    x = keras.Input((6, 5, 4))
    y = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(y)
    y = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(y)
    return keras.Model(x, y)


def skip_connection() -> keras.Model:
    x = keras.Input((8, 6, 3))
    left = layers.Conv2D(6, 3, padding="same", activation="swish")(x)
    right = layers.Conv2D(8, 3, padding="same", activation="gelu")(layers.MaxPooling2D()(left))
    y = layers.Concatenate()([left, layers.UpSampling2D()(right)])
    return keras.Model(x, layers.Conv2D(2, 1, activation="sigmoid")(y))


def squeeze_and_excitation() -> keras.Model:
    x = keras.Input((8, 7, 4))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    y = layers.PReLU(shared_axes=[1, 2])(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(gate)
    y = layers.Activation("hard_swish")(layers.Multiply()([y, gate]))
    y = layers.Flatten()(layers.Cropping2D(1)(y))
    return keras.Model(x, layers.Dense(5)(y))


def groups() -> keras.Model:
    x = keras.Input((8, 7, 6))
    y = layers.BatchNormalization()(layers.Conv2D(9, 3, groups=3, activation="relu")(x))
    z = layers.LeakyReLU(0.1)(layers.Conv2D(9, 1)(y))
    y = layers.Maximum()([layers.Average()([y, z]), z])
    y = layers.GlobalMaxPooling2D()(layers.Permute((2, 1, 3))(y))
    return keras.Model(x, layers.Dense(4)(y))


def gated_sequence() -> keras.Model:
    x = keras.Input((12, 6))
    values, gates = ops.split(layers.Conv1D(8, 3)(x), 2, axis=-1)
    y = layers.Conv1DTranspose(4, 3, strides=2)(values * ops.sigmoid(gates))[:, 1:-1]
    y = layers.ELU()(layers.Subtract()([y, y * ops.tanh(y)]))
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


@pytest.mark.parametrize(
    "make", [decoder, skip_connection, squeeze_and_excitation, groups, gated_sequence]
)
def test_c_gives_the_bytes_of_the_reference_and_those_are_near_keras(make, tmp_path):
    model = randomize(make())
    model.save(tmp_path / "net.keras")
    samples = np.random.default_rng(3).standard_normal((32, *model.input_shape[1:]), np.float32)
    np.savez(tmp_path / "samples.npz", samples)
    mcu_export.export(
        tmp_path / "net.keras", tmp_path / "out", samples=tmp_path / "samples.npz", scheme="q7"
    )
    exported = open_export(tmp_path / "out")
    verdict = verify(exported, random_inputs(exported.quant, 6), Target())
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    assert verdict.outputs_compared > 0

    quant = exported.quant
    (source,), (output,) = quant.graph.inputs, quant.graph.outputs
    got = run_reference(quant, quantize_inputs(quant, {source.name: samples}))[output]
    wanted = np.asarray(model(samples))
    error = quant.formats()[output].dequantize(got) - wanted
    assert np.mean(error**2) < np.mean(wanted**2) / 50  # 17 dB of signal to noise
