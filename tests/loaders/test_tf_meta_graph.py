"""Training graphs with their checkpoints: inference with the moving averages, without dropout."""

from __future__ import annotations

import numpy as np
import pytest
from tf_oracle import assert_close, run, samples_of, tf, tf1, weights

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.tf.meta_graph import is_meta_graph, load_meta_graph

SHAPE = (None, 8, 6, 2)
SAMPLES = samples_of(SHAPE)
CLASSES = 4


def kinds(graph):
    return [node.op.kind for node in graph.nodes]


def variable(name, value, trainable=True):
    return tf1.get_variable(name, initializer=value, trainable=trainable)


def statistics(name, channels):
    mean = variable(f"{name}_mean", weights(channels, seed=3), trainable=False)
    spread = np.abs(weights(channels, seed=4)) + 0.1
    return mean, variable(f"{name}_spread", spread, trainable=False)


def scales(name, channels):
    return variable(f"{name}_g", weights(channels, seed=5) + 1), variable(
        f"{name}_o", weights(channels)
    )


def fused(x, training, name):
    gamma, beta = scales(name, x.shape[-1])
    mean, spread = statistics(name, x.shape[-1])
    if training is False:
        return tf1.nn.fused_batch_norm(x, gamma, beta, mean, spread, 0.01, is_training=False)[0]
    y, batch_mean, batch_spread = tf1.nn.fused_batch_norm(x, gamma, beta, epsilon=0.01)
    tf1.assign_sub(mean, (mean - batch_mean) * 0.1)
    tf1.assign_sub(spread, (spread - batch_spread) * (1 - tf.constant(0.9)))
    return y


def spelled_out(x, training, name):
    gamma, beta = scales(name, x.shape[-1])
    mean, spread = statistics(name, x.shape[-1])
    if training is False:
        return tf.nn.batch_normalization(x, mean, spread, beta, gamma, 0.01)
    axes = list(range(len(x.shape) - 1))
    batch_mean, batch_spread = tf.nn.moments(x, axes)
    tf1.assign(mean, mean * 0.9 + batch_mean * 0.1)
    tf1.assign(spread, spread * 0.9 + batch_spread * 0.1)
    return tf.nn.batch_normalization(x, batch_mean, batch_spread, beta, gamma, 0.01)


def kept_dimensions(x, training, name):
    gamma, beta = scales(name, x.shape[-1])
    mean, spread = statistics(name, x.shape[-1])
    if training is False:
        return tf.nn.batch_normalization(x, mean, spread, beta, gamma, 0.01)
    axes = list(range(len(x.shape) - 1))
    batch_mean, batch_spread = tf.nn.moments(x, axes, keepdims=True)
    tf1.assign_sub(mean, (mean - tf.squeeze(batch_mean, axes)) * 0.1)
    tf1.assign_sub(spread, (spread - tf.squeeze(batch_spread, axes)) * 0.1)
    return tf.nn.batch_normalization(x, batch_mean, batch_spread, beta, gamma, 0.01)


def chosen_by_a_placeholder(x, training, name):
    gamma, beta = scales(name, x.shape[-1])
    mean, spread = statistics(name, x.shape[-1])
    if training is False:
        return tf1.nn.fused_batch_norm(x, gamma, beta, mean, spread, 0.01, is_training=False)[0]

    def batch():
        y, batch_mean, batch_spread = tf1.nn.fused_batch_norm(x, gamma, beta, epsilon=0.01)
        updates = [
            tf1.assign_sub(mean, (mean - batch_mean) * 0.1),
            tf1.assign_sub(spread, (spread - batch_spread) * 0.1),
        ]
        with tf1.control_dependencies(updates):
            return tf.identity(y)

    return tf1.cond(
        training,
        batch,
        lambda: tf1.nn.fused_batch_norm(x, gamma, beta, mean, spread, 0.01, is_training=False)[0],
    )


def averaged(x, training, name):
    """tf.train.ExponentialMovingAverage of the moments, as many examples have it."""
    gamma, beta = scales(name, x.shape[-1])
    average = tf1.train.ExponentialMovingAverage(0.9)
    batch_mean, batch_spread = tf.nn.moments(x, list(range(len(x.shape) - 1)))
    average.apply([batch_mean, batch_spread])
    if training is False:
        batch_mean, batch_spread = average.average(batch_mean), average.average(batch_spread)
    return tf.nn.batch_normalization(x, batch_mean, batch_spread, beta, gamma, 0.01)


# The fused op takes images only.
ON_MATRICES = (spelled_out, kept_dimensions, averaged)


def network(x, norm, training, keep, flag):
    y = tf.nn.conv2d(x, variable("kernel", weights(3, 3, 2, 5)), 1, "SAME")
    y = tf.nn.relu(norm(y, training if flag is None else flag, "first"))
    y = tf.reshape(y, [-1, 8 * 6 * 5])
    if keep is not None:
        y = keep(y)
    y = tf.matmul(y, variable("fc", weights(240, 6))) + variable("fc_bias", weights(6))
    if norm in ON_MATRICES:
        y = tf.nn.relu(norm(y, training, "second"))
    return tf.matmul(y, variable("last", weights(6, CLASSES))) + variable("b", weights(CLASSES))


def keep_placeholder(y):
    return tf1.nn.dropout(y, keep_prob=tf1.placeholder(tf.float32, name="p"))


def rate_placeholder(y):
    return tf1.nn.dropout(y, rate=tf1.placeholder(tf.float32, name="p"))


def default_keep(y):
    return tf1.nn.dropout(y, rate=1 - tf1.placeholder_with_default(1.0, (), name="p"))


def train(folder, norm, keep=None, resource=False, loss="dense", control_flow_v2=False):
    """A training graph saved with its variables; returns the prefix and the logits of inference."""
    (tf1.enable_control_flow_v2 if control_flow_v2 else tf1.disable_control_flow_v2)()
    tf1.enable_resource_variables() if resource else tf1.disable_resource_variables()
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, SHAPE, name="x")
        flag = tf1.placeholder(tf.bool, (), name="f") if norm is chosen_by_a_placeholder else None
        logits = network(x, norm, True, keep, flag)
        if loss == "dense":
            labels = tf1.placeholder(tf.float32, (None, CLASSES))
            cost = tf1.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        else:
            labels = tf1.placeholder(tf.int64, (None,))
            cost = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        tf1.train.AdamOptimizer(0.01).minimize(tf.reduce_mean(cost))
        tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), tf.argmax(labels, -1)), tf.float32))
        session.run(tf1.global_variables_initializer())
        for v in tf1.moving_average_variables() or tf1.global_variables():
            if "ExponentialMovingAverage" in v.name:
                session.run(v.assign(np.abs(weights(*v.shape, seed=8)) + 0.1))
        prefix = tf1.train.Saver().save(session, str(folder / "net.ckpt"), 5)
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, SHAPE)
        logits = network(x, norm, False, None, None)
        tf1.train.Saver().restore(session, prefix)
        expected = session.run(logits, {x: SAMPLES})
    return folder / prefix.rpartition("/")[2], expected


NORMS = (fused, spelled_out, kept_dimensions, chosen_by_a_placeholder)


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_moving_averages_are_used(norm, resource, tmp_path):
    prefix, expected = train(tmp_path, norm, resource=resource)
    assert is_meta_graph(prefix)
    graph = load_meta_graph(prefix)
    norm_and_relu = ["batch_norm", "clamp"]
    first = ["conv2d", *norm_and_relu, "reshape", "dense"]
    assert kinds(graph) == [*first, *(norm_and_relu if norm in ON_MATRICES else []), "dense"]
    assert {n.op.epsilon for n in graph.nodes if n.op.kind == "batch_norm"} == {0.01}
    assert_close(run(graph, SAMPLES), expected)


def test_exponential_moving_average(tmp_path):
    prefix, expected = train(tmp_path, averaged)
    graph = load_meta_graph(prefix)
    assert_close(run(graph, SAMPLES), expected)


def test_a_branch_of_tensorflow_2(tmp_path):
    prefix, expected = train(tmp_path, chosen_by_a_placeholder, resource=True, control_flow_v2=True)
    assert_close(run(load_meta_graph(prefix), SAMPLES), expected)


@pytest.mark.parametrize("keep", [keep_placeholder, rate_placeholder, default_keep])
@pytest.mark.parametrize("loss", ["dense", "sparse"])
def test_dropout_and_loss_are_left_out(keep, loss, tmp_path):
    prefix, expected = train(tmp_path, fused, keep, loss=loss)
    graph = load_meta_graph(prefix)
    assert kinds(graph) == ["conv2d", "batch_norm", "clamp", "reshape", "dense", "dense"]
    assert_close(run(graph, SAMPLES), expected)


def test_epsilon_is_replaced(tmp_path):
    for norm in NORMS:
        graph = load_meta_graph(train(tmp_path, norm)[0], bn_epsilon=0.0)
        assert graph.nodes[1].op.epsilon == 0.0


def test_any_file_names_the_checkpoint(tmp_path):
    prefix, _ = train(tmp_path, fused)
    nodes = [len(load_meta_graph(path).nodes) for path in tmp_path.glob("net.ckpt-5*")]
    assert nodes == [6, 6, 6]
    assert load_meta_graph(prefix).details == {"format": "TensorFlow checkpoint"}


def test_batch_statistics_without_averages_are_refused(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, SHAPE)
        y = tf1.nn.fused_batch_norm(x, *scales("n", 2))[0]
        tf.nn.softmax(tf.matmul(tf.reshape(y, [-1, 96]), variable("w", weights(96, 3))))
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "net"))
    with pytest.raises(UnsupportedLayerError, match="statistics of the batch"):
        load_meta_graph(tmp_path / "net")


def test_active_dropout_is_refused(tmp_path):
    prefix, _ = train(tmp_path, fused, lambda y: tf1.nn.dropout(y, rate=0.5))
    with pytest.raises(UnsupportedLayerError, match="dropout"):
        load_meta_graph(prefix)


def test_a_graph_without_an_end(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 4))
        tf.reduce_mean(tf.square(tf.matmul(x, variable("w", weights(4, 3))) - 1.0))
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "net"))
    with pytest.raises(ModelFileError, match="where the network ends") as caught:
        load_meta_graph(tmp_path / "net")
    assert "freeze" in caught.value.fix


def test_without_meta(tmp_path):
    prefix, _ = train(tmp_path, fused)
    meta = prefix.with_name(prefix.name + ".meta")
    content = meta.read_bytes()
    for data in (b"", content[: len(content) // 2], b"\xff" * 40):
        meta.write_bytes(data)
        with pytest.raises(ModelFileError):
            load_meta_graph(prefix)
    meta.unlink()
    assert not is_meta_graph(prefix)
    with pytest.raises(ModelFileError, match="not the network") as caught:
        load_meta_graph(prefix)
    assert ".meta" in caught.value.fix


def test_without_the_data(tmp_path):
    prefix, _ = train(tmp_path, fused)
    prefix.with_name(prefix.name + ".data-00000-of-00001").unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_meta_graph(prefix)
