"""Folding TensorFlow 1 checkpoints: TensorFlow restores the result and computes the same."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from mcu_export.cli import cli
from mcu_export.errors import ModelFileError, UsageError
from mcu_export.fold import Settings, fold
from mcu_export.graph import run_float
from mcu_export.loaders import load
from mcu_export.loaders.tf.checkpoint import read_checkpoint
from tests.fold.networks import batch_norm, conv, dense, depthwise, restored, saved, tf, tf1

SAMPLES = np.random.default_rng(1).standard_normal((5, 9, 8, 3)).astype(np.float32)


def keyword_spotter(x, training):
    """Conv, depthwise (multiplier 2), 1x1 and dense, all with biases."""
    y = tf.nn.relu(batch_norm(conv(x, "c1", 4), "c1/batch_norm", training))
    y = tf.nn.relu(batch_norm(depthwise(y, "d1", 2), "d1/batch_norm", training))
    y = tf.reshape(y, (-1, 3 * 6 * 8))
    y = tf.nn.relu(batch_norm(dense(y, "f1", 6), "f1/batch_norm", False))
    return dense(y, "f2", 3)


def without_batch_norms(x, training):
    y = tf.nn.relu(conv(x, "c1", 4))
    y = tf.nn.relu(depthwise(y, "d1", 2))
    y = tf.nn.relu(dense(tf.reshape(y, (-1, 3 * 6 * 8)), "f1", 6))
    return dense(y, "f2", 3)


def without_biases(x, training):
    """The offset goes into beta, or where there is none into the moving mean."""
    y = tf.nn.relu(batch_norm(conv(x, "c1", 4, bias=False), "c1/bn", training))
    y = batch_norm(depthwise(y, "d1", 1, bias=False), "d1/bn", False, center=False, scale=False)
    y = tf.reshape(tf.nn.relu(y), (-1, 3 * 6 * 4))
    return batch_norm(dense(y, "f1", 5, bias=False), "f1/bn", False, scale=False)


def with_some_that_stay(x, training):
    """At the input, after an activation, and two in a row, one of which is shared."""
    y = batch_norm(x, "first", False)
    y = batch_norm(tf.nn.relu(conv(y, "c1", 4)), "after", False)
    y = conv(y, "c2", 4)
    y = batch_norm(batch_norm(y, "one", False), "two", False, epsilon=1e-2)
    return dense(tf.reshape(y, (-1, 3 * 8 * 4)), "f1", 3)


def run(graph, samples):
    return run_float(graph, {graph.inputs[0].name: samples})[graph.outputs[0]]


def assert_same(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(one).max())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("build", [keyword_spotter, without_biases, with_some_that_stay])
def test_the_graph_with_batch_norms_restores_the_same_function(build, training, tmp_path):
    prefix = saved(tmp_path, build, training and build is not with_some_that_stay)
    expected = restored(prefix, build, SAMPLES)
    done = fold(prefix)
    out = tmp_path / f"{prefix.name}_bnfused"
    assert_same(expected, restored(out, build, SAMPLES))
    assert done.comparison.relative < 1e-6 and done.scope == "network"
    folded = [name for item in done.folds for name in item.batch_norms]
    assert len(folded) == (2 if build is with_some_that_stay else 3)
    assert len(done.kept) == (2 if build is with_some_that_stay else 0)


@pytest.mark.parametrize("mode", ["neutral", "keep", "remove"])
def test_a_graph_without_batch_norms_restores_the_same_function(mode, tmp_path):
    prefix = saved(tmp_path, keyword_spotter, True)
    expected = restored(prefix, keyword_spotter, SAMPLES)
    fold(prefix, tmp_path / "out", Settings(batch_norms=mode))
    assert_same(expected, restored(tmp_path / "out", without_batch_norms, SAMPLES))
    before, after = read_checkpoint(prefix), read_checkpoint(tmp_path / "out")
    statistics = {name for name in after if "batch_norm" in name}
    assert len(statistics) == (0 if mode == "remove" else 12)
    same = all(np.array_equal(before[name], after[name]) for name in statistics)
    assert same == (mode != "neutral")
    assert not [name for name in after if "Adam" in name or "power" in name or "step" in name]


def test_values_by_hand(tmp_path):
    """Against the formula, element by element, as the original scripts write it."""
    prefix = saved(tmp_path, keyword_spotter)
    fold(prefix)
    old, new = read_checkpoint(prefix), read_checkpoint(tmp_path / f"{prefix.name}_bnfused")
    for channel in range(8):
        norm = {k: float(old[f"d1/batch_norm/{k}"][channel]) for k in
                ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
        scale = norm["gamma"] / (norm["moving_variance"] + 0.001) ** 0.5
        weights = old["d1/depthwise_weights"][:, :, channel // 2, channel % 2] * scale
        bias = (float(old["d1/biases"][channel]) - norm["moving_mean"]) * scale + norm["beta"]
        got = new["d1/depthwise_weights"][:, :, channel // 2, channel % 2]
        np.testing.assert_allclose(got, weights, rtol=1e-6)
        assert new["d1/biases"][channel] == pytest.approx(bias, rel=1e-6, abs=1e-7)


def test_folded_twice_is_refused(tmp_path):
    prefix = saved(tmp_path, keyword_spotter)
    fold(prefix)
    with pytest.raises(ModelFileError, match="folded already"):
        fold(tmp_path / f"{prefix.name}_bnfused")
    with pytest.raises(ModelFileError, match="overwrite"):
        fold(prefix, prefix)


def test_the_folded_checkpoint_loads(tmp_path):
    prefix = saved(tmp_path, keyword_spotter)
    fold(prefix)
    one, other = load(tmp_path / f"{prefix.name}_bnfused"), load(prefix)
    assert_same(run(other, SAMPLES), run(one, SAMPLES))


def test_folded_twice_is_refused_without_fused_batch_norms(tmp_path):
    def build(x, training):
        y = dense(tf.reshape(x, (-1, 216)), "a", 5)
        return dense(batch_norm(y, "a/batch_norm", False), "b", 3)

    fold(saved(tmp_path, build), tmp_path / "once")
    with pytest.raises(ModelFileError, match="folded already"):
        fold(tmp_path / "once")


def test_command(tmp_path):
    prefix = saved(tmp_path, keyword_spotter)
    np.savez(tmp_path / "x.npz", x=SAMPLES)
    args = ["fold", str(prefix), str(tmp_path / "o"), "--samples", str(tmp_path / "x.npz")]
    result = CliRunner().invoke(cli, args, catch_exceptions=False)
    assert result.exit_code == 0
    assert "3 batch norms folded" in result.output
    assert "on 21 inputs" in result.output


# Without .meta, by naming conventions.


def ds_cnn_of_the_scripts(x, training):
    y = batch_norm(conv(x, "DS-CNN/conv_1", 4), "DS-CNN/conv_1/batch_norm", False, scale=False)
    y = depthwise(tf.nn.relu(y), "DS-CNN/conv_ds_1/depthwise_conv", 1)
    y = tf.nn.relu(batch_norm(y, "DS-CNN/conv_ds_1/dw_batch_norm", False, scale=False))
    y = conv(y, "DS-CNN/conv_ds_1/pointwise_conv", 6)
    y = tf.nn.relu(batch_norm(y, "DS-CNN/conv_ds_1/pw_batch_norm", False, scale=False))
    return dense(tf.reshape(y, (-1, 2 * 6 * 6)), "DS-CNN/fc1", 3)


def cnn_of_the_scripts(x, training):
    def shaped(*shape):
        return tf1.Variable(np.random.default_rng(shape).standard_normal(shape).astype("f4"))

    y = tf.nn.conv2d(x, shaped(3, 3, 3, 4), [1, 1, 1, 1], "VALID") + shaped(4)
    y = tf.nn.relu(batch_norm(y, "bn1", False))
    y = tf.reshape(y, (-1, 7 * 6 * 4))
    y = tf.nn.relu(batch_norm(tf.matmul(y, shaped(168, 5)) + shaped(5), "bn2", False))
    return tf.matmul(y, shaped(5, 3)) + shaped(3)


ARCHS = {"ds_cnn": ds_cnn_of_the_scripts, "cnn": cnn_of_the_scripts, "cnn2": cnn_of_the_scripts}


@pytest.mark.parametrize("arch", ARCHS)
def test_without_a_graph_it_is_the_same_as_with_it(arch, tmp_path):
    prefix = saved(tmp_path, ARCHS[arch])
    expected = restored(prefix, ARCHS[arch], SAMPLES)
    fold(prefix, tmp_path / "with")
    (tmp_path / f"{prefix.name}.meta").unlink()
    with pytest.raises(UsageError, match=r"\.meta"):
        fold(prefix, tmp_path / "without")
    done = fold(prefix, tmp_path / "without", Settings(arch=arch))
    assert done.scope == "layers" and done.comparison.relative < 1e-6
    one, other = read_checkpoint(tmp_path / "with"), read_checkpoint(tmp_path / "without")
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-6)
    assert_same(expected, restored(tmp_path / "without", ARCHS[arch], SAMPLES))
    with pytest.raises(ModelFileError, match="folded already"):
        fold(tmp_path / "without", tmp_path / "again", Settings(arch=arch))


def test_another_epsilon_without_a_graph(tmp_path):
    def build(x, training):
        y = batch_norm(conv(x, "a", 4), "a/batch_norm", False, epsilon=0.02)
        return dense(tf.reshape(y, (-1, 5 * 8 * 4)), "b", 3)

    prefix = saved(tmp_path, build)
    expected = restored(prefix, build, SAMPLES)
    (tmp_path / f"{prefix.name}.meta").unlink()
    fold(prefix, tmp_path / "out", Settings(arch="ds_cnn", bn_epsilon=0.02))
    assert_same(expected, restored(tmp_path / "out", build, SAMPLES))


@pytest.mark.parametrize("arch", ["dnn", "cnn"])
def test_the_wrong_convention(arch, tmp_path):
    prefix = saved(tmp_path, lambda x, t: dense(tf.reshape(x, (-1, 216)), "fc", 3))
    (tmp_path / f"{prefix.name}.meta").unlink()
    if arch == "dnn":
        assert fold(prefix, tmp_path / "out", Settings(arch=arch)).folds == ()
        assert read_checkpoint(tmp_path / "out").keys() == {"fc/weights", "fc/biases"}
    else:
        with pytest.raises(ModelFileError, match="no batch norms"):
            fold(prefix, tmp_path / "out", Settings(arch=arch))


def test_sizes_as_the_scripts_take_them(tmp_path):
    prefix = saved(tmp_path, ds_cnn_of_the_scripts)
    (tmp_path / f"{prefix.name}.meta").unlink()
    args = [
        "fold",
        "--arch",
        "ds_cnn",
        "--model-size-info",
        *map(str, (2, 4, 3, 3, 2, 1, 6, 3, 3, 1, 1)),
    ]
    result = CliRunner().invoke(cli, [*args, str(prefix)], catch_exceptions=False)
    assert result.exit_code == 0 and "3 batch norms" in result.output
    with pytest.raises(ModelFileError, match="no variable has the size"):
        fold(prefix, None, Settings(arch="ds_cnn", size_info=(2, 5, 3, 3, 2, 1)))


# Real checkpoints.


@pytest.mark.real
def test_ds_cnn_equals_the_twin_of_its_author(data_dir, tmp_path):
    (index,) = data_dir.glob("forks/lebhoryi_ds_cnn/*00.index")
    twin = read_checkpoint(next(data_dir.glob("forks/lebhoryi_ds_cnn/*bnfused.index")))
    fold(index, tmp_path / "ours")
    ours = read_checkpoint(tmp_path / "ours")
    assert ours.keys() == twin.keys()
    trained = [name for name in twin if "batch_norm" not in name]
    assert len(trained) == 20
    for name in trained:
        np.testing.assert_allclose(ours[name], twin[name], rtol=0, atol=1e-6)
    fold(index, tmp_path / "kept", Settings(batch_norms="keep"))
    kept = read_checkpoint(tmp_path / "kept")
    assert max(float(np.abs(kept[name] - twin[name]).max()) for name in twin) <= 1e-6
    for part in index.parent.glob("*00.[id]*"):
        shutil.copy(part, tmp_path)
    fold(tmp_path / index.name, tmp_path / "named", Settings(arch="ds_cnn"))
    named = read_checkpoint(tmp_path / "named")
    assert max(float(np.abs(named[name] - ours[name]).max()) for name in ours) <= 1e-6


def cnn2(x):
    """The network of the original script, without batch norms, with its variables."""

    def shaped(*shape):
        return tf1.Variable(np.zeros(shape, np.float32))

    y = tf.nn.relu(tf.nn.conv2d(x, shaped(10, 4, 1, 28), [1, 1, 1, 1], "VALID") + shaped(28))
    y = tf.nn.conv2d(y, shaped(10, 4, 28, 30), [1, 2, 1, 1], "VALID") + shaped(30)
    y = tf.reshape(tf.nn.relu(y), (-1, 3360))
    y = tf.matmul(y, tf1.get_variable("W", (3360, 16))) + tf1.get_variable("b", (16,))
    y = tf.nn.relu(tf.matmul(y, shaped(16, 128)) + shaped(128))
    return tf.matmul(y, shaped(128, 14)) + shaped(14)


@pytest.mark.real
def test_cnn2_keeps_its_accuracy_where_its_twin_loses(data_dir, tmp_path):
    (index,) = data_dir.glob("forks/lebhoryi_cnn2/*00.index")
    fold(index, tmp_path / "ours")
    with np.load(data_dir / "speech_commands/evaluation_mfcc_20ms.npz") as file:
        samples = next(file[k] for k in file.files if file[k].ndim == 3)
        labels = next(file[k] for k in file.files if file[k].ndim == 1)
    accuracy = {}
    for name, prefix in (("ours", tmp_path / "ours"), ("twin", f"{index}"[:-6] + "_bnfused")):
        with tf.Graph().as_default(), tf1.Session() as session:
            x = tf1.placeholder(tf.float32, (None, 49, 13, 1))
            y = cnn2(x)
            tf1.train.Saver().restore(session, str(prefix))
            accuracy[name] = np.mean(session.run(y, {x: samples[..., None]}).argmax(1) == labels)
    original = load(index)
    logits = run(original, samples.reshape(-1, *original.inputs[0].shape))
    unfolded = np.mean(logits.argmax(axis=1) == labels)
    assert accuracy["ours"] == unfolded
    assert accuracy["twin"] < unfolded - 0.015
