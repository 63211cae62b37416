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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mcu_export.backends import BACKENDS
from mcu_export.calibrate import calibrate
from mcu_export.choose import EQUALIZE_SAMPLES, choose_network, part, search
from mcu_export.efforts import EFFORTS, Effort, rounding_count
from mcu_export.evaluate import evaluate
from mcu_export.graph import Graph
from mcu_export.loaders import load
from mcu_export.lower import lower
from mcu_export.mix_costs import Costs, Limits, macs_cost
from mcu_export.mix_search import Mixed, search_mix
from mcu_export.ops.base import Array
from mcu_export.passes import run_passes
from mcu_export.passes.absorb_bias import absorb_bias
from mcu_export.passes.equalize import equalize
from mcu_export.plan import plan
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize, quantize_network
from mcu_export.rounding import Remedy, compensated_weights, corrected_bias, learn_rounding
from mcu_export.schemes.widths import UNIFORM
from mcu_export.search import Choice, Meter

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("MCU_EXPORT_DATA", ROOT.parent / "shared" / "data"))
FAST = EFFORTS["fast"]
CIFAR = "mlperf_tiny/image_classification/cifar10_test_jpeg_1000.npz"


@dataclass(frozen=True, eq=False)
class Case:
    """A float network, samples to choose on, samples to measure on, and labels of both, if any."""

    graph: Graph
    calibration: Mapping[str, Array]
    evaluation: Mapping[str, Array]
    labels: Array | None = None
    calibration_labels: Array | None = None


def speech(model: str, step: str, columns: int) -> Case:
    graph = _graph(f"mlkws/pretrained/{model}.pb")
    parts = [
        np.load(DATA / f"speech_commands/{part}_mfcc_{step}.npz")
        for part in ("calibration", "evaluation")
    ]
    chosen, measured = (_shaped(graph, part["mfcc"][:, :, :columns]) for part in parts)
    known, labels = (part["label"].astype(np.int64) for part in parts)
    return Case(graph, chosen, measured, labels, known)


def images(model: str, enlarge: int, scale: float, labeled: bool) -> Case:
    graph = _graph(model)
    file = np.load(DATA / CIFAR)
    x = file["x"].astype(np.float32) * np.float32(scale)
    x = x.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    known, labels = (file["y"][first::2].astype(np.int64) if labeled else None for first in (0, 1))
    return Case(graph, _shaped(graph, x[::2]), _shaped(graph, x[1::2]), labels, known)


def _graph(model: str) -> Graph:
    *_, (_, graph) = run_passes(load(DATA / model))
    return graph


def _shaped(graph: Graph, x: Array) -> dict[str, Array]:
    (tensor,) = graph.inputs
    return {tensor.name: np.ascontiguousarray(x.reshape(len(x), *tensor.shape), np.float32)}


def _tensor(scheme: str, calibration: str, case: Case) -> QuantGraph:
    """Each tensor alone."""
    return quantize_network(
        case.graph, calibrate(case.graph, case.calibration), scheme, calibration
    )


def _changed(case: Case, change: Callable[[Graph, Mapping[str, Array]], Graph]) -> Case:
    """The case with another network that computes the same."""
    return replace(case, graph=change(case.graph, part(case.calibration, EQUALIZE_SAMPLES)))


def equalize_fast(graph: Graph, samples: Mapping[str, Array]) -> Graph:
    """Equalization as the default effort has it."""
    return equalize(graph, samples, FAST.strengths[0])


def _rounded(remedies: tuple[Remedy, ...], case: Case) -> QuantGraph:
    """Formats of single tensors in q7, then constants that make up for their errors."""
    ranges = calibrate(case.graph, case.calibration)
    start = Choice(*choose_formats(case.graph, ranges, UNIFORM["q7"], "mse"))
    meter = Meter(case.graph, part(case.calibration, rounding_count(case.graph, FAST)))
    learned = learn_rounding(meter, meter.measure(start), FAST.taps, remedies=remedies)
    return _quantized(case.graph, learned.choice)


def _search(effort: Effort, case: Case) -> QuantGraph:
    """The search for formats with a part of what goes with it."""
    ranges = calibrate(case.graph, case.calibration)
    found = search(case.graph, ranges, case.calibration, UNIFORM["q7"], effort)
    return _quantized(found.graph, found.measured.choice)


def _quantized(graph: Graph, choice: Choice) -> QuantGraph:
    return quantize(graph, "q7", choice.activations, choice.params, choice.values, choice.used_bits)


def _searched(scheme: str, effort: str, case: Case) -> QuantGraph:
    """What ``--calibration output`` gives."""
    ranges = calibrate(case.graph, case.calibration)
    return choose_network(case.graph, ranges, case.calibration, scheme, "output", effort)


def _labeled(case: Case) -> QuantGraph:
    """The same with labels of the samples that it is chosen on."""
    ranges, labels = calibrate(case.graph, case.calibration), case.calibration_labels
    return choose_network(case.graph, ranges, case.calibration, "q7", "output", labels=labels)


def _mix(case: Case) -> Mixed:
    """What ``--scheme mixed`` gives without limits."""
    ranges = calibrate(case.graph, case.calibration)
    return search_mix(case.graph, ranges, case.calibration, FAST, _costs, Limits())


def _costs(quant: QuantGraph) -> Costs:
    program = lower(quant, BACKENDS["plain-c"], "net")
    flash = sum(step.weight_bytes for step in program.steps)
    return Costs(flash, plan(program).arena_bytes, macs_cost(quant))


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
Method = Callable[[Case], QuantGraph]
METHODS: Mapping[str, Method] = {
    **{
        f"q7 {name}": partial(_tensor, "q7", name) for name in ("minmax", "percentile", "mse", "kl")
    },
    "q7 mse, equalization": lambda case: _tensor("q7", "mse", _changed(case, equalize_fast)),
    "q7 mse, bias absorption": lambda case: _tensor("q7", "mse", _changed(case, absorb_bias)),
    "q7 mse, bias correction": partial(_rounded, (corrected_bias,)),
    "q7 mse, learned rounding": partial(_rounded, (compensated_weights, corrected_bias)),
    "q7 search alone": partial(_search, replace(FAST, strengths=(0.0,), roundings=0)),
    "q7 search, equalization": partial(_search, replace(FAST, roundings=0)),
    "q7 search, bias absorption": lambda case: _search(
        replace(FAST, strengths=(0.0,), roundings=0), _changed(case, absorb_bias)
    ),
    "q7 search, learned rounding": partial(_search, replace(FAST, strengths=(0.0,))),
    "q7 output fast": partial(_searched, "q7", "fast"),
    "q7 output fast, labels": _labeled,
    "q7 output good": partial(_searched, "q7", "good"),
    "q7 output best": partial(_searched, "q7", "best"),
    "q15 output fast": partial(_searched, "q15", "fast"),
    "q15x7 output fast": partial(_searched, "q15x7", "fast"),
    "mixed output fast": lambda case: _mix(case).quant,
    **{f"int8 {name}": partial(_tensor, "int8", name) for name in ("minmax", "mse")},
}


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="separated by commas")
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by semicolons")
    given = parser.parse_args()
    names = given.networks.split(",")
    cases = {name: NETWORKS[name]() for name in names}
    print("| points lost / agreement % (seconds) | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for method in given.methods.split(";"):
        print(f"| {method} ", end="")
        for case in cases.values():
            print(f"| {_cell(case, METHODS[method])} ", end="", flush=True)
        print("|", flush=True)


def _cell(case: Case, method: Method) -> str:
    begun = time.perf_counter()
    quant = method(case)
    seconds = time.perf_counter() - begun
    result = evaluate(quant, case.evaluation, case.labels)
    drop = "-" if result.drop is None else f"{result.drop:.2f}"
    size = _bytes_per_constant(quant)
    mixed = f", constants x {size:.2f}" if 1 < size < 2 else ""
    return f"{drop} / {100 * result.agreement:.1f}{mixed} ({seconds:.0f})"


def _bytes_per_constant(quant: QuantGraph) -> float:
    formats = [
        (n.param_formats[role].bits, a.size) for n in quant.nodes for role, a in n.params.items()
    ]
    mean: float = sum(bits * size for bits, size in formats) / 8 / sum(size for _, size in formats)
    return mean


if __name__ == "__main__":
    main()
