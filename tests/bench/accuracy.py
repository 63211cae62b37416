"""``python -m tests.bench.accuracy``: a table method x network of what quantization costs.

Formats are chosen on calibration samples and measured on others. Speech networks show the points
of accuracy lost and, behind the slash, the share of answers that agree with float. ResNet-8 is
calibrated on every other image and measured on the rest. There are no images for VWW: it gets
enlarged CIFAR images, whose answers mean nothing but can agree.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcu_export.calibrate import calibrate
from mcu_export.choose import choose_network
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.loaders import load
from mcu_export.ops.base import Array
from mcu_export.passes import run_passes

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("MCU_EXPORT_DATA", ROOT.parent / "shared" / "data"))
CIFAR = "mlperf_tiny/image_classification/cifar10_test_jpeg_1000.npz"


@dataclass(frozen=True, eq=False)
class Case:
    """A network with samples to choose on, samples to measure on, and their labels, if any."""

    graph: Graph
    calibration: Mapping[str, Array]
    evaluation: Mapping[str, Array]
    labels: Array | None


def speech(model: str, step: str, columns: int) -> Case:
    graph = _graph(f"mlkws/pretrained/{model}.pb")
    parts = [
        np.load(DATA / f"speech_commands/{part}_mfcc_{step}.npz")
        for part in ("calibration", "evaluation")
    ]
    chosen, measured = (_shaped(graph, part["mfcc"][:, :, :columns]) for part in parts)
    return Case(graph, chosen, measured, parts[1]["label"].astype(np.int64))


def images(model: str, enlarge: int, scale: float, labeled: bool) -> Case:
    graph = _graph(model)
    file = np.load(DATA / CIFAR)
    x = file["x"].astype(np.float32) * np.float32(scale)
    x = x.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    labels = file["y"][1::2].astype(np.int64) if labeled else None
    return Case(graph, _shaped(graph, x[::2]), _shaped(graph, x[1::2]), labels)


def _graph(model: str) -> Graph:
    *_, (_, graph) = run_passes(load(DATA / model))
    return graph


def _shaped(graph: Graph, x: Array) -> dict[str, Array]:
    (tensor,) = graph.inputs
    return {tensor.name: np.ascontiguousarray(x.reshape(len(x), *tensor.shape), np.float32)}


TINY = "mlperf_tiny"
NETWORKS: Mapping[str, Callable[[], Case]] = {
    "DNN_S": lambda: speech("DNN_S", "40ms", 10),
    "CNN_S": lambda: speech("CNN_S", "20ms", 10),
    "CNN_M": lambda: speech("CNN_M", "20ms", 10),
    "DS_CNN_S": lambda: speech("DS_CNN_S", "20ms", 10),
    "DS_CNN_L": lambda: speech("DS_CNN_L", "20ms", 10),
    "ResNet-8": lambda: images(f"{TINY}/image_classification/pretrainedResnet.h5", 1, 1.0, True),
    "VWW": lambda: images(f"{TINY}/visual_wake_words/vww_96.h5", 3, 1 / 255, False),
}
# scheme, calibration, effort
METHODS = (
    ("q7", "minmax", "fast"),
    ("q7", "percentile", "fast"),
    ("q7", "kl", "fast"),
    ("q7", "mse", "fast"),
    ("q7", "output", "fast"),
    ("q7", "output", "good"),
    ("q7", "output", "best"),
    ("q15", "mse", "fast"),
    ("q15", "output", "fast"),
)


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="separated by commas")
    parser.add_argument("--methods", default="", help="such as q7:mse:fast, separated by commas")
    given = parser.parse_args()
    names = given.networks.split(",")
    methods = [tuple(m.split(":")) for m in given.methods.split(",")] if given.methods else METHODS
    cases = {name: NETWORKS[name]() for name in names}
    print("| points lost / agreement % (seconds) | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for scheme, calibration, effort in methods:
        label = f"{scheme} {calibration}" + (f" {effort}" if calibration == "output" else "")
        cells = [_cell(case, scheme, calibration, effort) for case in cases.values()]
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def _cell(case: Case, scheme: str, calibration: str, effort: str) -> str:
    begun = time.perf_counter()
    ranges = calibrate(case.graph, case.calibration)
    quant = choose_network(case.graph, ranges, case.calibration, scheme, calibration, effort)
    seconds = time.perf_counter() - begun
    result = evaluate(quant, case.evaluation, case.labels)
    drop = "-" if result.drop is None else f"{result.drop:.2f}"
    return f"{drop} / {100 * result.agreement:.1f} ({seconds:.0f})"


if __name__ == "__main__":
    main()
