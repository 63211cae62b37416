"""Checkpoints of speech command networks that others trained, loaded with their training graph."""

from __future__ import annotations

import numpy as np
import pytest
from tf_oracle import assert_close, run, samples_of, tf, tf1

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.graph import load_frozen_graph
from mcu_export.loaders.tf.meta_graph import load_meta_graph

# folder -> features, coefficients, accuracy on every fourth sample of the evaluation part
NETWORKS = {
    "lebhoryi_cnn2": ("20ms", 13, 0.8676),
    "lebhoryi_ds_cnn": ("20ms", 13, 0.9020),
    "purice93_cnn": ("20ms", 10, 0.9142),
    "purice93_dnn": ("40ms", 10, 0.8382),
}
pytestmark = pytest.mark.real


def meta_of(data_dir, folder):
    (meta,) = (
        path for path in (data_dir / "forks" / folder).glob("*.meta") if "bnfused" not in path.name
    )
    return meta


def evaluation(data_dir, folder):
    features, coefficients, _ = NETWORKS[folder]
    with np.load(data_dir / "speech_commands" / f"evaluation_mfcc_{features}.npz") as file:
        samples = next(file[k] for k in file.files if file[k].ndim == 3)
        labels = next(file[k] for k in file.files if file[k].ndim == 1)
    return samples[::4, :, :coefficients].astype(np.float32), labels[::4]


@pytest.mark.parametrize("folder", NETWORKS)
def test_accuracy(folder, data_dir):
    samples, labels = evaluation(data_dir, folder)
    logits = run(load_meta_graph(meta_of(data_dir, folder)), samples)
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    assert accuracy == pytest.approx(NETWORKS[folder][2], abs=5e-5)


def test_logits_equal_tensorflow(data_dir):
    """Of the network without batch norm, whose training graph infers as it is."""
    meta = meta_of(data_dir, "purice93_dnn")
    samples, _ = evaluation(data_dir, "purice93_dnn")
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        tf1.train.import_meta_graph(str(meta)).restore(session, str(meta.with_suffix("")))
        decision = next(op for op in graph.get_operations() if op.type == "ArgMax")
        feeds = {"fingerprint_input:0": samples.reshape(len(samples), -1), "dropout_prob:0": 1.0}
        expected = session.run(decision.inputs[0], feeds)
    assert_close(run(load_meta_graph(meta), samples), expected)


@pytest.mark.parametrize("folder", ["lebhoryi_cnn2", "lebhoryi_ds_cnn"])
def test_equals_the_graph_that_its_author_froze(folder, data_dir):
    (frozen,) = (data_dir / "forks" / folder).glob("*.pb")
    ours, twin = load_meta_graph(meta_of(data_dir, folder)), load_frozen_graph(frozen)
    samples = samples_of((None, 49, 13), 20) * 20
    np.testing.assert_array_equal(run(ours, samples), run(twin, samples))


def test_a_checkpoint_that_is_folded_already_is_refused(data_dir):
    metas = sorted(data_dir.glob("forks/*/*bnfused.meta"))
    assert len(metas) == 2
    for meta in metas:
        with pytest.raises(ModelFileError, match="folded already") as caught:
            load_meta_graph(meta)
        assert "before the folding" in caught.value.fix
