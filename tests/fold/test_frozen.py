"""Folding frozen graphs: TensorFlow runs the result, and it has no batch norm any more."""

from __future__ import annotations

import numpy as np
import pytest

from mcu_export.errors import ModelFileError
from mcu_export.fold import fold
from mcu_export.loaders import load
from tests.fold.networks import batch_norm, conv, dense, depthwise, tf, tf1

SAMPLES = np.random.default_rng(1).standard_normal((5, 9, 8, 3)).astype(np.float32)


def frozen(path, build):
    """The graph in a file, and what TensorFlow computes with it."""
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 9, 8, 3), name="features")
        y = tf.identity(build(x), name="result")
        session.run(tf1.global_variables_initializer())
        constants = tf1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["result"]
        )
        path.write_bytes(constants.SerializeToString())
        return session.run(y, {x: SAMPLES})


def outputs(path):
    """What TensorFlow computes with a file, and the ops in it."""
    definition = tf1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 9, 8, 3))
        (y,) = tf.import_graph_def(definition, {"features": x}, ["result:0"])
        return session.run(y, {x: SAMPLES}), {node.op for node in definition.node}


def with_biases(x):
    y = tf.nn.relu(batch_norm(conv(x, "a", 4), "a/bn", False))
    y = tf.nn.relu(batch_norm(depthwise(y, "b", 2), "b/bn", False))
    return batch_norm(dense(tf.reshape(y, (-1, 144)), "c", 3), "c/bn", False)


def without_biases(x):
    y = tf.nn.relu(batch_norm(conv(x, "a", 4, bias=False), "a/bn", False))
    y = batch_norm(depthwise(y, "b", 1, bias=False), "b/bn", False, scale=False, center=False)
    y = batch_norm(dense(tf.reshape(y, (-1, 72)), "c", 3, bias=False), "c/bn", False)
    return tf.nn.softmax(y)


def two_in_a_row(x):
    y = batch_norm(conv(x, "a", 4), "one", False, epsilon=1e-2)
    return batch_norm(y, "two", False)


def shared_weights(x):
    """Two convolutions of the same weights, a batch norm for each."""
    w = tf1.get_variable("w", initializer=np.random.default_rng(0).random((3, 3, 3, 4), "f4"))
    b = tf1.get_variable("b", initializer=np.arange(4, dtype=np.float32))
    one, two = (tf.nn.conv2d(y, w, 1, "SAME") + b for y in (x, tf.nn.relu(x)))
    return batch_norm(one, "one", False) + batch_norm(two, "two", False)


def transposed_weights(x):
    w = tf1.get_variable("w", initializer=np.random.default_rng(0).random((216, 216), "f4"))
    y = tf.matmul(tf.reshape(x, (-1, 216)), w, transpose_b=True) - 0.5
    return batch_norm(y, "bn", False)


BUILDS = [with_biases, without_biases, two_in_a_row, shared_weights, transposed_weights]


@pytest.mark.parametrize("build", BUILDS)
def test_tensorflow_computes_the_same_without_batch_norms(build, tmp_path):
    expected = frozen(tmp_path / "net.pb", build)
    done = fold(tmp_path / "net.pb")
    got, ops = outputs(tmp_path / "net_bnfused.pb")
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
    assert not ops & {"FusedBatchNormV3", "Rsqrt"}
    assert done.comparison.relative < 1e-6 and not done.kept
    assert len(load(tmp_path / "net_bnfused.pb").nodes) < len(load(tmp_path / "net.pb").nodes)
    with pytest.raises(ModelFileError, match="no batch norm"):
        fold(tmp_path / "net_bnfused.pb")


def test_one_that_cannot_be_folded_stays(tmp_path):
    def build(x):
        y = batch_norm(tf.nn.relu(batch_norm(conv(x, "a", 4), "one", False)), "two", False)
        return tf.nn.relu(y)

    expected = frozen(tmp_path / "net.pb", build)
    done = fold(tmp_path / "net.pb", tmp_path / "out.pb")
    got, ops = outputs(tmp_path / "out.pb")
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
    assert "FusedBatchNormV3" in ops and len(done.kept) == 1


def test_no_model(tmp_path):
    (tmp_path / "text.pb").write_text("hello")
    for name in ("text.pb", "nothing"):
        with pytest.raises(ModelFileError):
            fold(tmp_path / name)


@pytest.mark.real
@pytest.mark.parametrize("name", ["DS_CNN_S", "CNN_S"])
def test_the_front_end_stays_and_runs(name, data_dir, tmp_path):
    path = data_dir / f"mlkws/pretrained/{name}.pb"
    fold(path, tmp_path / "out.pb")
    wav = next((data_dir / "mlkws/wav/yes").glob("*.wav")).read_bytes()
    answers = []
    for file in (path, tmp_path / "out.pb"):
        definition = tf1.GraphDef.FromString(file.read_bytes())
        with tf.Graph().as_default(), tf1.Session() as session:
            (y,) = tf.import_graph_def(definition, None, ["labels_softmax:0"])
            inputs = next(n.name for n in definition.node if n.op == "Placeholder")
            answers.append(session.run(y, {f"import/{inputs}:0": wav}))
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-5)
    assert len(definition.node) < len(tf1.GraphDef.FromString(path.read_bytes()).node)
