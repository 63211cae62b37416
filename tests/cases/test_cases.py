"""Every op: float is near what the integers say, and C gives the integers on every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.backends import BACKENDS
from mcu_export.build import Target
from mcu_export.calibrate import calibrate
from mcu_export.exported import Exported
from mcu_export.graph import Graph, run_float
from mcu_export.lower import lower
from mcu_export.pipeline import golden_of
from mcu_export.plan import plan
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.render import render
from mcu_export.verify import random_inputs, verify
from tests.cases.networks import CASES

# Largest error in steps of the output: rounding of inputs, weights and output, and in a
# convolution the sum of those over all taps.
STEPS = {"conv": 40, "transpose": 40, "depthwise": 12, "dense": 20}


def _samples(graph: Graph, count: int = 24) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    return {
        tensor.name: generator.uniform(-2, 2, (count, *tensor.shape)).astype(np.float32)
        for tensor in graph.inputs
    }


def quantized(graph: Graph, scheme: str) -> QuantGraph:
    """The network in integers, min-max formats of random samples."""
    ranges = calibrate(graph, _samples(graph))
    return quantize(graph, scheme, *choose_formats(graph, ranges, scheme, "minmax"))


def write_c(quant: QuantGraph, backend: str, folder: Path) -> Exported:
    """The C files of a network, opened as an export."""
    program = lower(quant, BACKENDS[backend], "net")
    golden = golden_of(quant, _samples(quant.graph), 2)
    for name, text in render(program, plan(program), golden, "case").files.items():
        (folder / name).write_text(text)
    manifest = {"layers": [{"name": step.layer} for step in program.steps]}
    return Exported(folder, "net", manifest, quant, golden.inputs)


@pytest.mark.parametrize("scheme", ["q7", "q15"])
@pytest.mark.parametrize("name", CASES)
def test_integers_are_near_float(name: str, scheme: str) -> None:
    graph = CASES[name]()
    quant, samples = quantized(graph, scheme), _samples(graph)
    output = graph.outputs[0]
    fmt = quant.formats()[output]
    expected = run_float(graph, samples)[output]
    got = fmt.dequantize(run_reference(quant, quantize_inputs(quant, samples))[output])
    finest = min(f.frac_bits for f in (fmt, *quant.input_formats.values()))
    allowed = STEPS.get(name.split("_", maxsplit=1)[0], 4) * 2.0**-finest
    assert (
        np.abs(got - np.clip(expected, *fmt.dequantize([fmt.lowest, fmt.highest]))).max() < allowed
    )


@pytest.mark.parametrize("backend", ["plain-c"])
@pytest.mark.parametrize("scheme", ["q7", "q15"])
@pytest.mark.parametrize("name", [name for name in CASES if name != "reshape"])
def test_c_gives_the_integers(name: str, scheme: str, backend: str, tmp_path: Path) -> None:
    exported = write_c(quantized(CASES[name](), scheme), backend, tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 8), Target(sanitize=True))
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    assert verdict.outputs_compared > 0
