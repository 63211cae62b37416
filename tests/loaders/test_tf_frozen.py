"""Frozen graphs, op by op: TensorFlow computes what our float graph must compute."""

from __future__ import annotations

import numpy as np
import pytest
from tf_oracle import assert_close, freeze, run, tf, tf1, weights

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Graph
from mcu_export.loaders.tf.graph import is_graph_def, load_frozen_graph


def kinds(graph: Graph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


def conv(x, channels=5, kernel=3, strides=1, padding="SAME", **options):
    w = tf1.Variable(weights(kernel, kernel, int(x.shape[-1]), channels))
    return tf.nn.conv2d(x, w, strides, padding, **options)


def depthwise(x, multiplier, strides=1, padding="SAME", dilations=None):
    w = tf1.Variable(weights(3, 3, int(x.shape[-1]), multiplier))
    steps = [1, strides, strides, 1]
    return tf.nn.depthwise_conv2d(x, w, steps, padding, dilations=dilations)


def dense(x, units=4):
    return tf.matmul(x, tf1.Variable(weights(int(x.shape[-1]), units)))


def with_itself(y):
    return y + y


def shared(y):
    return (y + weights(5)) + tf.nn.relu(y)


def static_flatten(x):
    return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])


def dynamic_flatten(x):
    return tf.reshape(x, tf.stack([tf.shape(x)[0], tf.reduce_prod(tf.shape(x)[1:])]))


CONVOLUTIONS = {
    "same": conv,
    "valid": lambda x: conv(x, padding="VALID"),
    "same, stride 2": lambda x: conv(x, strides=2),
    "same, stride 3, even kernel": lambda x: conv(x, kernel=4, strides=3),
    "valid, stride 2": lambda x: conv(x, strides=2, padding="VALID"),
    "strides 2x1": lambda x: conv(x, strides=[1, 2, 1, 1]),
    "explicit": lambda x: conv(x, strides=2, padding=[[0, 0], [2, 1], [0, 3], [0, 0]]),
    "dilated": lambda x: conv(x, dilations=2),
    "dilated 2x1, valid": lambda x: conv(x, dilations=[1, 2, 1, 1], padding="VALID"),
    "1x1": lambda x: conv(x, kernel=1),
    "depthwise 1": lambda x: depthwise(x, 1),
    "depthwise 2": lambda x: depthwise(x, 2),
    "depthwise 2, stride 2": lambda x: depthwise(x, 2, strides=2),
    "depthwise valid": lambda x: depthwise(x, 1, padding="VALID"),
    "depthwise dilated": lambda x: depthwise(x, 2, dilations=[2, 2]),
    "separable": lambda x: tf.nn.separable_conv2d(
        x, weights(3, 3, 3, 2), weights(1, 1, 6, 4), [1, 2, 2, 1], "SAME"
    ),
    "1-d": lambda x: tf.nn.conv1d(tf.reshape(x, [-1, 24, 9]), weights(5, 9, 4), 2, "SAME"),
}
BIASES = {
    "BiasAdd": lambda x: tf.nn.bias_add(conv(x), weights(5)),
    "Add": lambda x: conv(x) + weights(5),
    "Add, constant first": lambda x: weights(5) + conv(x),
    "one number": lambda x: conv(x) + 0.75,
    "Sub": lambda x: conv(x) - weights(5),
    "Sub from": lambda x: weights(5) - conv(x),
    "two biases": lambda x: (conv(x) + weights(5)) + weights(5, seed=1),
    "bias, scale, bias": lambda x: (tf.nn.relu(conv(x)) + weights(5)) * 0.5 + weights(5, seed=1),
    "two biases on an activation": lambda x: tf.nn.relu(x) + weights(3) - weights(3, seed=1),
    "full rank": lambda x: conv(x) + weights(1, 1, 1, 5),
    "dense": lambda x: dense(static_flatten(x)) + weights(4),
    "dense, full rank": lambda x: dense(static_flatten(x)) + weights(1, 4),
    "after a reshape": lambda x: tf.reshape(conv(x), [-1, 72, 5]) + weights(5),
    "on the flat image": lambda x: static_flatten(conv(x)) + weights(360),
}
DENSE = {
    "static flatten": lambda x: dense(static_flatten(x)),
    "dynamic flatten": lambda x: dense(tf.ensure_shape(dynamic_flatten(x), [None, 216])),
    "transposed weights": lambda x: tf.matmul(static_flatten(x), weights(4, 216), transpose_b=True),
    "adjoint weights": lambda x: tf.matmul(static_flatten(x), weights(4, 216), adjoint_b=True),
    "on rows": lambda x: tf.tensordot(x, weights(3, 6), [[3], [0]]),
    "on a matrix": lambda x: tf.matmul(tf.reshape(x, [-1, 24, 9]), weights(9, 5)),
    "two layers": lambda x: dense(tf.nn.relu(dense(static_flatten(x), 7)), 3),
}
POOLS = {
    "max": lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"),
    "max, same": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
    "max, overlapping": lambda x: tf.nn.max_pool2d(x, [3, 2], [2, 1], "SAME"),
    "average": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
    "average, same": lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"),
    "mean": lambda x: tf.reduce_mean(x, [1, 2]),
    "mean, negative axes": lambda x: tf.reduce_mean(x, [-3, -2]),
    "mean, kept": lambda x: conv(tf.reduce_mean(x, [1, 2], keepdims=True), kernel=1),
    "mean, then dense": lambda x: dense(tf.reduce_mean(conv(x), [1, 2])),
    "mean of channels": lambda x: x + tf.reduce_mean(x, [3], keepdims=True),
    "max of rows": lambda x: dense(tf.reduce_max(x, [2])),
    "max of all": lambda x: tf.reduce_max(conv(x), [1, 2, 3]),
    "global max": lambda x: tf.reduce_max(x, [1, 2]),
    "mean over time": lambda x: tf.reduce_mean(tf.reshape(x, [-1, 24, 9]), 1),
    "squeeze": lambda x: tf.squeeze(tf.nn.avg_pool2d(x, [9, 8], 1, "VALID"), [1, 2]),
}
LAYOUTS = {
    "pad": lambda x: conv(tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]), padding="VALID"),
    "pad of rows": lambda x: tf.pad(tf.reshape(x, [-1, 24, 9]), [[0, 0], [2, 1], [0, 0]]),
    "expand and squeeze": lambda x: tf.squeeze(tf.expand_dims(conv(x), 1), [1]),
    "reshape by -1": lambda x: conv(tf.reshape(x, [-1, 18, 4, 3])),
    "dynamic reshape": lambda x: conv(
        tf.ensure_shape(
            tf.reshape(x, tf.concat([tf.shape(x)[:1], [18, 4, 3]], 0)), [None, 18, 4, 3]
        )
    ),
    "transpose of a column": lambda x: conv(
        tf.transpose(tf.reshape(x, [-1, 1, 72, 3]), [0, 2, 1, 3])
    ),
}
ACTIVATIONS = {
    "relu": lambda x: tf.nn.relu(conv(x)),
    "relu6": lambda x: tf.nn.relu6(4 * conv(x)),
    "clip": lambda x: tf.clip_by_value(conv(x), -1.0, 2.5),
    "minimum": lambda x: tf.minimum(tf.maximum(conv(x), 0.5), 3.0),
    "residual": lambda x: tf.nn.relu(conv(x, 3) + x),
    "residual with biases": lambda x: (conv(x, 3) + weights(3)) + (conv(x, 3) - weights(3)),
    "sum with itself": lambda x: with_itself(conv(x)),
    "shared before its bias": lambda x: shared(conv(x)),
    "passing ops": lambda x: tf.stop_gradient(tf.identity(tf.cast(conv(x), tf.float32))),
    "scaled input": lambda x: conv((x - 0.5) / 128.0),
}


def noise(x):
    return tf.random.uniform(tf.shape(x))


DROPOUTS = {
    "keep 1, old form": lambda x: x / 1.0 * tf.floor(1.0 + noise(x)),
    "rate 0, v1": lambda x: x * (1 / (1 - 0.0)) * tf.cast(noise(x) >= 0.0, x.dtype),
    "rate 0, v2": lambda x: tf.where(noise(x) >= 0.0, x / 1.0, 0.0),
    "scaled noise": lambda x: x * tf.floor(1.0 + (noise(x) * (1.0 - 0.0) + 0.0)),
}
CASES = {
    f"{group}: {name}": build
    for group, cases in {
        "conv": CONVOLUTIONS,
        "bias": BIASES,
        "dense": DENSE,
        "pool": POOLS,
        "layout": LAYOUTS,
        "activation": ACTIVATIONS,
        "dropout": {name: lambda x, b=build: b(conv(x)) for name, build in DROPOUTS.items()},
    }.items()
    for name, build in cases.items()
}


@pytest.mark.parametrize("name", CASES)
def test_computes_what_tensorflow_computes(name, tmp_path):
    built = freeze(tmp_path, CASES[name])
    assert is_graph_def(built.path)
    graph = load_frozen_graph(built.path)
    assert_close(run(graph, built.samples), built.outputs)


def test_a_bias_goes_into_its_layer(tmp_path):
    for name in ("BiasAdd", "Add", "Sub", "two biases", "dense", "after a reshape"):
        graph = load_frozen_graph(freeze(tmp_path, BIASES[name]).path)
        assert not {"batch_norm", "add"} & set(kinds(graph)), name


def test_dropout_leaves_nothing_behind(tmp_path):
    for build in DROPOUTS.values():
        graph = load_frozen_graph(freeze(tmp_path, lambda x, b=build: conv(b(tf.nn.relu(x)))).path)
        assert kinds(graph) == ["clamp", "conv2d"]


def test_the_last_softmax_is_left_off_and_recorded(tmp_path):
    built = freeze(tmp_path, lambda x: tf.nn.softmax(dense(static_flatten(x))))
    graph = load_frozen_graph(built.path)
    assert graph.details["dropped_softmax"] is True
    assert kinds(graph) == ["dense"]
    logits = run(graph, built.samples)
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert_close(exponential / exponential.sum(axis=1, keepdims=True), built.outputs)


def test_logits_have_the_shape_that_their_softmax_had(tmp_path):
    def build(x):
        y = tf.nn.softmax(conv(tf.reduce_mean(x, [1, 2], keepdims=True), kernel=1))
        return tf.reshape(y, [-1, 5])

    graph = load_frozen_graph(freeze(tmp_path, build).path)
    assert kinds(graph) == ["average_pool2d", "conv2d", "reshape"]
    assert graph.shapes()[graph.outputs[0]] == (5,)


def test_a_softmax_in_the_middle_stays(tmp_path):
    built = freeze(tmp_path, lambda x: dense(tf.nn.softmax(dense(static_flatten(x)))))
    graph = load_frozen_graph(built.path)
    assert "dropped_softmax" not in graph.details
    assert_close(run(graph, built.samples), built.outputs)


def test_a_decision_at_the_end_is_left_off(tmp_path):
    built = freeze(tmp_path, lambda x: tf.cast(tf.argmax(dense(static_flatten(x)), 1), tf.int32))
    graph = load_frozen_graph(built.path)
    np.testing.assert_array_equal(run(graph, built.samples).argmax(axis=1), built.outputs)


def test_the_input_takes_the_shape_of_its_first_reshape(tmp_path):
    built = freeze(tmp_path, lambda x: conv(tf.reshape(x, [-1, 9, 8, 1])), (None, 72))
    graph = load_frozen_graph(built.path)
    assert graph.inputs[0].shape == (9, 8, 1)
    assert_close(run(graph, built.samples), built.outputs)


def test_a_placeholder_with_default_is_an_input(tmp_path):
    def build(x):
        y = tf1.placeholder_with_default(x, (None, 9, 8, 3), name="with_default")
        return conv(y)

    built = freeze(tmp_path, build)
    graph = load_frozen_graph(built.path)
    assert graph.inputs[0].name == "with_default"
    assert_close(run(graph, built.samples), built.outputs)


@pytest.mark.parametrize("form", ["keep", "rate"])
def test_a_dropout_placeholder_is_a_setting(form, tmp_path):
    def build(x):
        p = tf1.placeholder(tf.float32, name="p")
        options = {"keep_prob": p} if form == "keep" else {"rate": p}
        return conv(tf1.nn.dropout(tf.nn.relu(x), **options))

    built = freeze(tmp_path, build, feed={"p:0": 1.0 if form == "keep" else 0.0})
    graph = load_frozen_graph(built.path)
    assert kinds(graph) == ["clamp", "conv2d"]
    assert_close(run(graph, built.samples), built.outputs)


@pytest.mark.parametrize("default", [None, False])
def test_a_training_flag_is_a_setting(default, tmp_path):
    def build(x):
        if default is None:
            flag = tf1.placeholder(tf.bool, (), name="flag")
        else:
            flag = tf1.placeholder_with_default(default, (), name="flag")
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        mean, variance = tf1.cond(
            flag, lambda: (mean, variance), lambda: (tf.constant([0.1, 0.2, 0.3]), tf.ones(3))
        )
        return conv(tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3))

    for v2 in (False, True):
        (tf1.enable_control_flow_v2 if v2 else tf1.disable_control_flow_v2)()
        built = freeze(tmp_path, build, feed={"flag:0": False})
        graph = load_frozen_graph(built.path)
        assert kinds(graph) == ["batch_norm", "conv2d"]
        assert_close(run(graph, built.samples), built.outputs)


UNSUPPORTED = {
    "FusedBatchNormV3": lambda x: tf1.nn.fused_batch_norm(x, weights(3), weights(3))[0],
    "GreaterEqual": lambda x: tf1.nn.dropout(x, rate=0.5),
    "MatMul": lambda x: tf.matmul(static_flatten(x), static_flatten(x), transpose_b=True),
    "Transpose": lambda x: tf.transpose(conv(x), [1, 0, 3, 2]),
    "Mean": lambda x: tf.reduce_mean(x, [0, 3]),
    "Abs": lambda x: tf.abs(conv(x)),
    "ConcatV2": lambda x: tf.concat([x, conv(x, 3)], 0),
    "ResizeBilinear": lambda x: tf1.image.resize_bilinear(x, [18, 16]),
}


@pytest.mark.parametrize("op", UNSUPPORTED)
def test_what_is_not_supported_is_named(op, tmp_path):
    built = freeze(tmp_path, UNSUPPORTED[op])
    with pytest.raises(UnsupportedLayerError) as caught:
        load_frozen_graph(built.path)
    assert f"({op})" in caught.value.where


@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_is_named(version, tmp_path):
    (tf1.enable_control_flow_v2 if version == 2 else tf1.disable_control_flow_v2)()

    def build(x):
        steps = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 0.5), (0, x))
        return conv(tf.ensure_shape(steps[1], [None, 9, 8, 3]))

    with pytest.raises(UnsupportedLayerError, match="loop over time steps"):
        load_frozen_graph(freeze(tmp_path, build).path)
