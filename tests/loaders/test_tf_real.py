"""The frozen networks of ML-KWS-for-MCU: same logits as TensorFlow, on a whole evaluation set."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import run_float
from mcu_export.loaders.tf.graph import is_graph_def, load_frozen_graph
from mcu_export.passes.fold_batch_norm import fold_batch_norm

# name -> features, accuracy on the evaluation part, multiply-accumulates
NETWORKS = {
    "DNN_S": ("40ms", 0.7828, 79_200),
    "CNN_S": ("20ms", 0.8595, 2_498_304),
    "CNN_M": ("20ms", 0.8632, 8_633_856),
    "DS_CNN_S": ("20ms", 0.8975, 2_656_768),
    "DS_CNN_L": ("20ms", 0.9117, 28_327_812),
}
RECURRENT = ("CRNN_S", "Basic_LSTM_S", "LSTM_S", "GRU_S")
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pretrained(data_dir):
    return data_dir / "mlkws" / "pretrained"


def evaluation(data_dir, features):
    with np.load(data_dir / "speech_commands" / f"evaluation_mfcc_{features}.npz") as file:
        samples = next(file[k] for k in file.files if file[k].ndim == 3)
        labels = next(file[k] for k in file.files if file[k].ndim == 1)
    return samples[..., :10].astype(np.float32), labels


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_accuracy(name, pretrained, data_dir):
    features, accuracy, macs = NETWORKS[name]
    path = pretrained / f"{name}.pb"
    assert is_graph_def(path)
    graph = load_frozen_graph(path)
    samples, labels = evaluation(data_dir, features)
    with np.load(data_dir / "speech_commands" / "evaluation_reference_logits.npz") as file:
        expected = file[name]
    if macs > 8_000_000:  # the slow ones
        samples, labels, expected = samples[::5], labels[::5], expected[::5]
        accuracy = float(np.mean(expected.argmax(axis=1) == labels))
    (tensor,) = graph.inputs
    values = run_float(graph, {tensor.name: samples.reshape(-1, *tensor.shape)})
    logits = values[graph.outputs[0]]
    assert float(np.max(np.abs(logits - expected))) < 1e-6 * float(np.max(np.abs(expected)))
    assert float(np.mean(logits.argmax(axis=1) == labels)) == pytest.approx(accuracy, abs=5e-5)
    assert graph.macs() == macs


def test_the_front_end_is_recorded(pretrained):
    graph = load_frozen_graph(pretrained / "DS_CNN_S.pb")
    assert graph.inputs[0].shape == (49, 10, 1)
    assert graph.details["dropped_softmax"] is True
    assert graph.details["front_end"] == {
        "features": "Mfcc",
        "sample_rate": None,
        "desired_channels": 1,
        "desired_samples": 16000,
        "window_size": 640,
        "stride": 320,
        "magnitude_squared": True,
        "dct_coefficient_count": 10,
        "filterbank_channel_count": 40,
        "lower_frequency_limit": 20.0,
        "upper_frequency_limit": 4000.0,
    }


def test_all_batch_norms_of_a_cnn_are_found(pretrained):
    for epsilon, expected in ((None, 0.001), (0.0, 0.0)):
        graph = load_frozen_graph(pretrained / "CNN_S.pb", bn_epsilon=epsilon)
        norms = [node for node in graph.nodes if node.op.kind == "batch_norm"]
        assert [norm.op.epsilon for norm in norms] == [expected] * 3
        assert all(np.ptp(norm.params["gamma"]) > 0.1 for norm in norms)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_network_is_refused_by_name(name, pretrained):
    with pytest.raises(UnsupportedLayerError, match="recurrent layers are not supported") as caught:
        load_frozen_graph(pretrained / f"{name}.pb")
    assert "while/Exit" in caught.value.where


def test_other_files_are_no_graphs(data_dir):
    others = [
        *data_dir.glob("mlperf_tiny/*/*.h5"),
        *data_dir.glob("mlperf_tiny/*/*.tflite"),
        *data_dir.glob("tflm/*.tflite"),
        *data_dir.glob("mlperf_tiny/*/*/saved_model.pb"),
        *data_dir.glob("forks/*/*.meta"),
        *data_dir.glob("forks/*/*.index"),
    ]
    assert len(others) > 10
    assert not [path.name for path in others if is_graph_def(path)]


def test_tensorflow_is_not_imported(pretrained):
    code = (
        "import sys; from pathlib import Path; from mcu_export.loaders.tf.graph import *;"
        f"load_frozen_graph(Path({str(pretrained / 'DS_CNN_S.pb')!r}));"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('tensorflow', 'keras')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def q7(values):
    """Arm's quantization of a tensor: as many fraction bits as its largest value allows."""
    frac_bits = 7 - int(np.ceil(np.log2(np.max(np.abs(values)))))
    return np.clip(np.round(values.astype(np.float64) * 2.0**frac_bits), -128, 127)


def test_the_weights_that_arm_ships(pretrained, data_dir):
    """They are DS_CNN_S with batch norms folded with epsilon 0; the file's own epsilon is 0.001."""
    graph = load_frozen_graph(pretrained / "DS_CNN_S.pb", bn_epsilon=0.0)
    layers = [node for node in fold_batch_norm(graph).nodes if "weights" in node.params]
    names = [
        "CONV1",
        *(f"CONV{i}_{kind}" for i in range(2, 6) for kind in ("DS", "PW")),
        "FINAL_FC",
    ]
    with np.load(data_dir / "mlkws" / "golden" / "arm_ds_cnn_weights_q7.npz") as golden:
        for name, layer in zip(names, layers, strict=True):
            for suffix, role in (("WT", "weights"), ("BIAS", "bias")):
                ours, shipped = q7(layer.params[role]).reshape(-1), golden[f"{name}_{suffix}"]
                assert np.array_equal(ours, shipped), f"{name}_{suffix}"
