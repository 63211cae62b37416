"""Batch norms in frozen graphs: fused and spelled out, recognized with their own epsilon."""

from __future__ import annotations

import numpy as np
import pytest
from tf_oracle import assert_close, freeze, run, tf, tf1, weights

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.tf.graph import load_frozen_graph
from mcu_export.passes.fold_batch_norm import fold_batch_norm

CHANNELS = 5
EPSILON = 0.02
GAMMA = weights(CHANNELS, seed=1) + 1.0
BETA = weights(CHANNELS, seed=2)
MEAN = weights(CHANNELS, seed=3)
VARIANCE = np.abs(weights(CHANNELS, seed=4)) + 0.05


def conv(x):
    return tf.nn.conv2d(x, weights(3, 3, 3, CHANNELS), 1, "SAME") + weights(CHANNELS)


def dense(x):
    return tf.matmul(tf.reshape(x, [-1, 216]), weights(216, CHANNELS))


def fused(op):
    def build(x, epsilon):
        return getattr(tf.raw_ops, op)(
            x=x, scale=GAMMA, offset=BETA, mean=MEAN, variance=VARIANCE, epsilon=epsilon,
            is_training=False,
        ).y  # fmt: skip

    return build


def function(x, epsilon):
    return tf1.nn.fused_batch_norm(x, GAMMA, BETA, MEAN, VARIANCE, epsilon, is_training=False)[0]


def standard(x, epsilon):
    gamma, beta, mean, variance = map(tf.constant, (GAMMA, BETA, MEAN, VARIANCE))
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def without_gamma(x, epsilon):
    beta, mean, variance = map(tf.constant, (BETA, MEAN, VARIANCE))
    return tf.nn.batch_normalization(x, mean, variance, beta, None, epsilon)


def without_beta(x, epsilon):
    gamma, mean, variance = map(tf.constant, (GAMMA, MEAN, VARIANCE))
    return tf.nn.batch_normalization(x, mean, variance, None, gamma, epsilon)


def bare(x, epsilon):
    mean, variance = map(tf.constant, (MEAN, VARIANCE))
    return tf.nn.batch_normalization(x, mean, variance, None, None, epsilon)


def variables(x, epsilon):
    gamma, beta, mean, variance = map(tf1.Variable, (GAMMA, BETA, MEAN, VARIANCE))
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def textbook(x, epsilon):
    return GAMMA * (x - MEAN) * tf.math.rsqrt(tf.constant(VARIANCE) + epsilon) + BETA


def divided(x, epsilon):
    return (x - MEAN) / tf.sqrt(tf.constant(VARIANCE) + epsilon) * GAMMA + BETA


def quotient_of_constants(x, epsilon):
    scale = tf.constant(GAMMA) / tf.sqrt(tf.constant(VARIANCE) + epsilon)
    return x * scale + (tf.constant(BETA) - tf.constant(MEAN) * scale)


def epsilon_first(x, epsilon):
    scale = tf.math.rsqrt(epsilon + tf.constant(VARIANCE)) * GAMMA
    return scale * x + (BETA - scale * MEAN)


def full_rank(x, epsilon):
    shape = [1] * (len(x.shape) - 1) + [CHANNELS]
    gamma, beta, mean, variance = (
        tf.constant(a.reshape(shape)) for a in (GAMMA, BETA, MEAN, VARIANCE)
    )
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


FUSED = {op: fused(op) for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")}
PRIMITIVE = {
    f.__name__: f
    for f in (
        standard, without_gamma, without_beta, bare, variables, textbook, divided,
        quotient_of_constants, epsilon_first, full_rank,
    )
}  # fmt: skip
FORMS = {
    **{
        f"{name} on {before.__name__}": (f, before)
        for name, f in FUSED.items()
        for before in [conv]
    },
    "function on conv": (function, conv),
    **{f"{n} on {b.__name__}": (f, b) for n, f in PRIMITIVE.items() for b in (conv, dense)},
}


def build_with(form, epsilon=EPSILON):
    norm, before = FORMS[form]
    return lambda x: tf.nn.relu(norm(before(x), epsilon))


@pytest.mark.parametrize("form", FORMS)
def test_is_recognized(form, tmp_path):
    built = freeze(tmp_path, build_with(form))
    graph = load_frozen_graph(built.path)
    assert_close(run(graph, built.samples), built.outputs)
    (norm,) = (node for node in graph.nodes if node.op.kind == "batch_norm")
    assert norm.op.epsilon == EPSILON
    np.testing.assert_array_equal(norm.params["variance"], VARIANCE)


@pytest.mark.parametrize("form", FORMS)
def test_epsilon_is_replaced(form, tmp_path):
    path = freeze(tmp_path, build_with(form)).path
    graph = load_frozen_graph(path, bn_epsilon=0.0)
    expected = freeze(tmp_path, build_with(form, 0.0))
    assert_close(run(graph, expected.samples), expected.outputs)


@pytest.mark.parametrize("form", FORMS)
def test_is_folded_away(form, tmp_path):
    built = freeze(tmp_path, build_with(form))
    graph = fold_batch_norm(load_frozen_graph(built.path))
    assert "batch_norm" not in {node.op.kind for node in graph.nodes}
    assert_close(run(graph, built.samples), built.outputs)


def test_gamma_and_mean_are_kept_apart(tmp_path):
    for form in ("FusedBatchNormV3 on conv", "standard on conv", "quotient_of_constants on dense"):
        graph = load_frozen_graph(freeze(tmp_path, build_with(form)).path)
        (norm,) = (node for node in graph.nodes if node.op.kind == "batch_norm")
        np.testing.assert_array_equal(norm.params["gamma"], GAMMA)
        np.testing.assert_array_equal(norm.params["beta"], BETA)
        np.testing.assert_array_equal(norm.params["mean"], MEAN)


def test_a_plain_scale_keeps_no_epsilon(tmp_path):
    built = freeze(tmp_path, lambda x: tf.nn.relu(x) * weights(3) + weights(3, seed=1))
    graph = load_frozen_graph(built.path, bn_epsilon=0.5)
    assert [node.op.kind for node in graph.nodes] == ["clamp", "batch_norm"]
    assert_close(run(graph, built.samples), built.outputs)


def test_variance_zero_without_epsilon_is_refused(tmp_path):
    def build(x):
        zero = np.zeros(CHANNELS, np.float32)
        return tf1.nn.fused_batch_norm(conv(x), GAMMA, BETA, MEAN, zero, 0.1, is_training=False)[0]

    path = freeze(tmp_path, build).path
    load_frozen_graph(path)
    with pytest.raises(ModelFileError, match="variance"):
        load_frozen_graph(path, bn_epsilon=0.0)


def test_training_form_without_averages_is_refused(tmp_path):
    def build(x):
        return tf1.nn.fused_batch_norm(conv(x), GAMMA, BETA)[0]

    with pytest.raises(UnsupportedLayerError, match="statistics of the batch"):
        load_frozen_graph(freeze(tmp_path, build).path)
