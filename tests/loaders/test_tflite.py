"""``.tflite`` files: the oracle is TensorFlow's own interpreter, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.graph import run_float
from mcu_export.loaders import load, load_network
from mcu_export.loaders.tflite.network import like_interpreter
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import random_inputs, run_reference

tf = pytest.importorskip("tensorflow")

from tests.loaders.tflite_networks import (  # noqa: E402 -- it imports tensorflow
    SHAPE,
    all_operators,
    convert,
    interpret,
    small,
)

INT8_FILES = (
    "mlperf_tiny/anomaly_detection/ad01_int8.tflite",
    "mlperf_tiny/image_classification/pretrainedResnet_quant.tflite",
    "mlperf_tiny/keyword_spotting/kws_ref_model.tflite",
    "mlperf_tiny/streaming_wakeword/str_ww_ref_model.tflite",
    "mlperf_tiny/visual_wake_words/vww_96_int8.tflite",
    "tflm/hello_world_int8.tflite",
    "tflm/micro_speech_quantized.tflite",
)


def _load(tmp_path: Path, content: bytes):
    path = tmp_path / "net.bin"  # the content decides, not the name
    path.write_bytes(content)
    return load_network(path)


def _differences(quant: QuantGraph, content: bytes, count: int) -> tuple[int, int]:
    """(integers that differ from the interpreter's, integers compared)."""
    inputs = random_inputs(quant, count)
    (given,) = inputs.values()
    expected = interpret(content, given)
    values = run_reference(like_interpreter(quant), inputs)
    compared = [name for name in values if name in expected and name not in inputs]
    assert len(compared) >= len(values) - 4  # inputs, reshapes of ours, names that are not unique
    wrong = sum(
        int((values[n].reshape(count, -1) != expected[n].reshape(count, -1)).sum())
        for n in compared
    )
    return wrong, sum(values[name].size for name in compared)


@pytest.mark.parametrize("integers", ["int8", "int16"])
def test_every_operator_equals_the_interpreter(integers: str, tmp_path: Path):
    content = convert(lambda x: all_operators(x, integers == "int8"), integers)
    quant = _load(tmp_path, content)
    assert quant.scheme == {"int8": "int8", "int16": "int16x8"}[integers]
    wrong, compared = _differences(quant, content, 8)
    assert wrong == 0
    assert compared > 150_000


@pytest.mark.real
@pytest.mark.parametrize("name", INT8_FILES)
def test_real_networks_equal_the_interpreter(name: str, data_dir: Path):
    path = data_dir / name
    wrong, _ = _differences(load_network(path), path.read_bytes(), 2)
    assert wrong == 0


@pytest.mark.real
def test_dense_layers_round_as_on_a_microcontroller(data_dir: Path):
    quant = load_network(data_dir / INT8_FILES[0])
    inputs = random_inputs(quant, 4)
    ours, theirs = run_reference(quant, inputs), run_reference(like_interpreter(quant), inputs)
    (output,) = quant.graph.outputs
    assert (ours[output] != theirs[output]).any()
    assert quant.graph.details["same_bytes_as"] == "TensorFlow Lite Micro"


def test_float_input_and_output_become_integers(tmp_path: Path):
    content = convert(
        small, "int8", inference_input_type=tf.float32, inference_output_type=tf.float32
    )
    quant = _load(tmp_path, content)
    (name,) = quant.input_formats
    samples = np.random.default_rng(1).standard_normal((6, *SHAPE)).astype(np.float32)
    expected = interpret(content, samples)
    integers = quant.input_formats[name].quantize(samples)
    assert np.array_equal(integers.ravel(), expected["tfl.quantize"].ravel())


def test_float_network(tmp_path: Path):
    content = convert(lambda x: all_operators(x, True))
    graph = _load(tmp_path, content)
    samples = np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)
    ours = run_float(graph, {graph.inputs[0].name: samples})[graph.outputs[0]]
    theirs = interpret(content, samples)[""]
    assert np.abs(ours.ravel() - theirs.ravel()).max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimizations": [tf.lite.Optimize.DEFAULT]}, "int8"),
        ({"inference_input_type": tf.uint8, "integers": "int8"}, "uint8"),
    ],
)
def test_half_quantized_networks_are_refused(settings: dict, says: str, tmp_path: Path):
    wide = lambda x: tf.matmul(  # noqa: E731 -- large enough that the converter packs the weights
        tf.reshape(x, [1, -1]), tf.constant(np.linspace(-1, 1, 64_000, dtype="f").reshape(1600, 40))
    )
    with pytest.raises(UnsupportedLayerError) as caught:
        _load(tmp_path, convert(wide, **settings))
    assert says in str(caught.value)
    assert caught.value.fix


def test_unknown_operator_is_named(tmp_path: Path):
    with pytest.raises(UnsupportedLayerError, match="EXP"):
        _load(tmp_path, convert(tf.exp))


def test_damaged_files_end_with_an_error_of_ours(tmp_path: Path):
    content = convert(small, "int8")
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        broken = bytearray(content)
        if trial % 3 == 0:
            broken = broken[: int(random.integers(8, len(broken)))]
        else:
            for position in random.integers(8, len(broken), 8):
                broken[position] = int(random.integers(0, 256))
        try:
            _load(tmp_path, bytes(broken))
        except McuExportError:
            refused += 1
    assert refused > 100


def test_a_list_longer_than_the_file_is_not_read(tmp_path: Path):
    content = convert(small, "int8")
    with pytest.raises(ModelFileError, match="damaged"):
        _load(tmp_path, content[:8] + b"\xff" * (len(content) - 8))


def test_load_gives_the_float_network_of_a_quantized_file(tmp_path: Path):
    path = tmp_path / "net.tflite"
    path.write_bytes(convert(small, "int8"))
    graph = load(path)
    samples = np.random.default_rng(1).standard_normal((4, *SHAPE)).astype(np.float32)
    values = run_float(graph, {graph.inputs[0].name: samples})
    (output,) = graph.outputs
    expected = np.concatenate([small(sample[None]).numpy() for sample in samples])
    error = np.sqrt(np.mean((values[output] - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < 0.01  # weights were rounded to a scale per channel, nothing else
