"""``python -m tests.bench.converter``: our int8 beside that of TensorFlow's own converter.

Both get the same float network and the same calibration samples, and are measured on other
samples: accuracy where there are labels, and how often the answer is that of float. The
converter's network runs in the interpreter, on its reference kernels. Samples of the AD network
are frames of speech, made as those of its training; there are no images for VWW, so it gets
enlarged ones of CIFAR: what they are called means nothing, but it can agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mcu_export.calibrate import calibrate
from mcu_export.choose import choose_network
from mcu_export.evaluate import argmax
from mcu_export.graph import Graph, run_float
from mcu_export.loaders import load_network
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import quantize_inputs, run_batches
from mcu_export.samples import spread
from tests.bench.accuracy import DATA, NETWORKS, Case
from tests.bench.accuracy import _graph as graph_of
from tests.bench.accuracy import _shaped as shaped
from tests.bench.as_tensorflow import as_function

CALIBRATION_SAMPLES = 200
TINY = "mlperf_tiny"


def mlperf_kws() -> Case:
    """The keyword spotter of MLPerf Tiny; its samples are stored in the format of its int8 file."""
    folder = f"{TINY}/keyword_spotting"
    quantized = load_network(DATA / folder / "kws_ref_model.tflite")
    assert isinstance(quantized, QuantGraph)
    (fmt,) = quantized.input_formats.values()
    parts = [
        np.load(DATA / f"speech_commands/{part}_mlperf_kws_int8.npz")
        for part in ("calibration", "evaluation")
    ]
    graph = graph_of(f"{folder}/kws_ref_model")
    chosen, measured = (shaped(graph, fmt.dequantize(part["features"])) for part in parts)
    return Case(graph, chosen, measured, parts[1]["label"].astype(np.int64))


def anomalies() -> Case:
    """Log-mel frames of speech: 128 bands, 5 frames, 64 ms each with a step of 32 ms."""
    graph = graph_of(f"{TINY}/anomaly_detection/ad01.h5")
    frames = np.concatenate([_log_mel(p.read_bytes()) for p in sorted(DATA.glob("mlkws/wav/*/*"))])
    return Case(graph, shaped(graph, frames[::2]), shaped(graph, frames[1::2]))


def _log_mel(wav: bytes) -> Array:
    sound, _ = tf.audio.decode_wav(wav, 1, 16000)
    power = tf.abs(tf.signal.stft(sound[:, 0], 1024, 512)) ** 2
    mel = power @ tf.signal.linear_to_mel_weight_matrix(128, 513, 16000, 0.0, 8000.0)
    decibels = (10 * np.log10(np.maximum(mel, 1e-12))).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(decibels, 5, axis=0)
    return windows.transpose(0, 2, 1).reshape(len(windows), -1)


CASES: Mapping[str, Callable[[], Case]] = {
    "MLPerf KWS": mlperf_kws,
    "ResNet-8": NETWORKS["ResNet-8"],
    "VWW": NETWORKS["VWW"],
    "AD": anomalies,
    "DS_CNN_S": NETWORKS["DS_CNN_S"],
    "CNN_S": NETWORKS["CNN_S"],
}


@dataclass(frozen=True)
class Score:
    """Shares in percent; no accuracy without labels. SQNR in dB."""

    accuracy: float | None
    agreement: float
    sqnr: float

    def text(self) -> str:
        accuracy = "" if self.accuracy is None else f"{self.accuracy:.2f} / "
        return f"{accuracy}{self.agreement:.2f} ({self.sqnr:.1f} dB)"


def score(outputs: Array, real: Array, labels: Array | None) -> Score:
    answers, noise = argmax(outputs), np.square(outputs.reshape(real.shape) - real).sum()
    return Score(
        None if labels is None else 100 * float(np.mean(answers == labels)),
        100 * float(np.mean(answers == argmax(real))),
        10 * float(np.log10(np.square(real).sum() / noise)),
    )


def converted(graph: Graph, samples: Array) -> bytes:
    """The int8 file that TensorFlow's converter makes of a network."""
    signature = tf.TensorSpec([1, *samples.shape[1:]], tf.float32)
    concrete = tf.function(as_function(graph), input_signature=[signature]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], None)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    return content


def interpreted(content: bytes, samples: Array) -> Array:
    """Its outputs as real values."""
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = entry["quantization"]
    integers = np.clip(np.floor(samples / scale + 0.5) + zero, -128, 127).astype(np.int8)
    outputs = []
    for sample in integers:
        interpreter.set_tensor(entry["index"], sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(end["index"]))
    scale, zero = end["quantization"]
    real: Array = (np.concatenate(outputs).astype(np.float64) - zero) * scale
    return real


def ours(case: Case, chosen: Mapping[str, Array], scheme: str, method: str) -> Array:
    """The same of our reference."""
    graph = case.graph
    quant = choose_network(graph, calibrate(graph, chosen), chosen, scheme, method)
    (output,) = graph.outputs
    batches = run_batches(quant, quantize_inputs(quant, case.evaluation))
    real: Array = quant.formats()[output].dequantize(np.concatenate([b[output] for b in batches]))
    return real


def measure(case: Case, scheme: str, methods: list[str], count: int) -> list[Score]:
    """Float, the converter, then each of our methods."""
    graph, (output,) = case.graph, case.graph.outputs
    chosen = {n: a[spread(len(a), count)] for n, a in case.calibration.items()}
    (samples,) = chosen.values()
    (inputs,) = case.evaluation.values()
    real = np.concatenate(
        [run_float(graph, {n: a[i : i + 100] for n, a in case.evaluation.items()})[output]
         for i in range(0, len(inputs), 100)]
    ).astype(np.float64)  # fmt: skip
    outputs = [real * (1 + 1e-9), interpreted(converted(graph, samples), inputs)]
    outputs += [ours(case, chosen, scheme, method) for method in methods]
    return [score(one.reshape(real.shape), real, case.labels) for one in outputs]


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(CASES), help="separated by commas")
    parser.add_argument("--methods", default="output", help="--calibration, by commas")
    parser.add_argument("--scheme", default="int8", help="ours: int8, int4 or int16x8")
    parser.add_argument("--samples", type=int, default=CALIBRATION_SAMPLES, help="to calibrate on")
    given = parser.parse_args()
    methods = given.methods.split(",")
    print("| | float | converter | " + " | ".join(methods) + " |")
    print("|---" * (len(methods) + 3) + "|")
    for name in given.networks.split(","):
        scores = measure(CASES[name](), given.scheme, methods, given.samples)
        print(f"| {name} | " + " | ".join(one.text() for one in scores) + " |", flush=True)


if __name__ == "__main__":
    main()
