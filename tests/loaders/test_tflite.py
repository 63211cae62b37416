"""``.tflite`` files: the oracle is TensorFlow's own interpreter, tensor by tensor."""

from __future__ import annotations

import re
from functools import cache
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

from tests.loaders.tflite_edit import (  # noqa: E402
    INT4,
    edited,
    schema,
    with_four_bit_weights,
)
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


def test_weights_of_four_bits_equal_the_interpreter(tmp_path: Path):
    content = edited(convert(lambda x: all_operators(x, True), "int8"), with_four_bit_weights)
    quant = _load(tmp_path, content)
    assert quant.scheme == "int4"
    bits = {
        node.node.op.kind: node.param_formats["weights"].bits
        for node in quant.nodes
        if "weights" in node.params
    }
    assert bits == {"conv2d": 4, "depthwise_conv2d": 4, "dense": 4, "transpose_conv2d": 8}
    wrong, compared = _differences(quant, content, 8)
    assert wrong == 0
    assert compared > 150_000


def test_weights_stored_as_float16(tmp_path: Path):
    settings = {
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "target_spec": tf.lite.TargetSpec(supported_types=[tf.float16]),
    }
    content = convert(small, **settings)
    graph = _load(tmp_path, content)
    inputs = np.random.default_rng(1).standard_normal((4, *SHAPE)).astype(np.float32)
    got = run_float(graph, {graph.inputs[0].name: inputs})[graph.outputs[0]]
    expected = interpret(content, inputs)[""].reshape(got.shape)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    exact = _load(tmp_path, convert(small)).nodes[0].params["weights"]
    assert not np.array_equal(graph.nodes[0].params["weights"], exact)


def test_weights_stored_with_a_dynamic_range(tmp_path: Path):
    """Rounded to 255 steps; the interpreter rounds the activations, too, we do not."""
    exact = _load(tmp_path, convert(small))
    content = convert(small, optimizations=[tf.lite.Optimize.DEFAULT])
    rounded = _load(tmp_path, content)
    one, other = (graph.nodes[-1].params["weights"] for graph in (exact, rounded))
    step = np.abs(one).max() / 127
    assert 0 < np.abs(one - other).max() <= 0.501 * step
    inputs = np.random.default_rng(1).standard_normal((4, *SHAPE)).astype(np.float32)
    got = run_float(rounded, {rounded.inputs[0].name: inputs})[rounded.outputs[0]]
    expected = interpret(content, inputs)[""].reshape(got.shape)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.02 * np.abs(expected).max())


@pytest.mark.real
def test_a_real_network_with_a_dynamic_range(data_dir: Path):
    folder = data_dir / "mlperf_tiny/keyword_spotting"
    path = folder / "kws_ref_model_float32.tflite"
    samples = np.load(folder / "sc02_features_float_240.npz")["x"][::6]
    graph = load(path)
    ours = run_float(graph, {graph.inputs[0].name: samples})[graph.outputs[0]]
    theirs = interpret(path.read_bytes(), samples)[""].reshape(ours.shape)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) >= 0.97


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


def test_networks_of_unsigned_integers_are_refused(tmp_path: Path):
    with pytest.raises(UnsupportedLayerError, match="uint8") as caught:
        _load(tmp_path, convert(small, "int8", inference_input_type=tf.uint8))
    assert caught.value.fix


def test_unknown_operator_is_named(tmp_path: Path):
    with pytest.raises(UnsupportedLayerError, match="FLOOR"):
        _load(tmp_path, convert(tf.floor))


def _first_output(model) -> object:
    graph = model.subgraphs[0]
    return graph.tensors[graph.operators[0].outputs[0]]


def _all_unsigned(model) -> None:
    """As converters before the 8-bit specification made them."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8:
            tensor.type = schema.TensorType.UINT8


def _custom(model) -> None:
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = 32
    code.customCode = b"MyOp"


def _of_the_future(model) -> None:
    model.operatorCodes[0].builtinCode = 4000


def _with_scales(count: int):
    def change(model) -> None:
        quantization = _first_output(model).quantization
        quantization.scale, quantization.zeroPoint = [0.1] * count, [0] * count

    return change


def _of_four_bits(model) -> None:
    _first_output(model).type = INT4


@cache
def _small_in_int8() -> bytes:
    return convert(small, "int8")


REFUSED = {
    "uint8": (_all_unsigned, "CONV_2D", "is uint8"),
    "custom operator": (_custom, "CUSTOM MyOp", "not supported"),
    "unknown operator": (_of_the_future, "number 4000", "not supported"),
    "activation without a scale": (_with_scales(0), "CONV_2D", "is int8, without scale"),
    "activation with a scale per channel": (_with_scales(6), "CONV_2D", "with 6 scales"),
    "activation of four bits": (_of_four_bits, "CONV_2D", "is int4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_run_names_operator_and_tensor(name: str, tmp_path: Path):
    change, operator, reason = REFUSED[name]
    with pytest.raises(UnsupportedLayerError, match=reason) as caught:
        _load(tmp_path, edited(_small_in_int8(), change))
    assert re.search(rf"operator 0 \({operator}\), tensor '.+'", caught.value.where)
    assert caught.value.fix


def test_four_bit_weights_with_wide_activations_are_refused(tmp_path: Path):
    content = edited(convert(small, "int16"), with_four_bit_weights)
    with pytest.raises(UnsupportedLayerError, match="are int4, the activations are int16"):
        _load(tmp_path, content)


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
