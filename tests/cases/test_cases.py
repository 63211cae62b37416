"""Every op: float is near what the integers say, and C gives the integers on every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.backends import BACKENDS, backend_of
from mcu_export.build import Target
from mcu_export.calibrate import calibrate
from mcu_export.exported import Exported
from mcu_export.graph import Graph, run_float
from mcu_export.lower import lower
from mcu_export.names import LAYER_WORDS
from mcu_export.pipeline import golden_of
from mcu_export.plan import plan
from mcu_export.program import Choices, Layout, Program
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import ABOUT_SCHEMES, quantize_network
from mcu_export.reference import quantize_inputs, random_inputs, run_reference
from mcu_export.render import render
from mcu_export.schemes.formats import Format, PowerOfTwo
from mcu_export.verify import verify
from tests.cases.networks import CASES

# Largest error in steps of the output: rounding of inputs, weights and output, and in a
# convolution the sum of those over all taps. These have constants of 8 bits in int16x8.
STEPS = {"conv": 40, "transpose": 40, "depthwise": 12, "dense": 20, "prelu": 4}


def samples_of(graph: Graph, count: int = 24) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    return {
        tensor.name: generator.uniform(-2, 2, (count, *tensor.shape)).astype(np.float32)
        for tensor in graph.inputs
    }


def quantized(graph: Graph, scheme: str) -> QuantGraph:
    """The network in integers, min-max formats of random samples."""
    return quantize_network(graph, calibrate(graph, samples_of(graph)), scheme, "minmax")


def step_of(fmt: Format, weights_bits: int) -> float:
    """Real difference of two integers; int16x8 is not finer than its 8-bit weights allow."""
    if isinstance(fmt, PowerOfTwo):
        return 2.0**-fmt.frac_bits
    return fmt.scale * 2.0 ** (fmt.bits - weights_bits)


def write_c(
    quant: QuantGraph, backend: str, folder: Path, release: str = "", optimize: str = "speed"
) -> Exported:
    """The C files of a network, opened as an export."""
    program = lower(quant, backend_of(backend, release), "net", (), Choices(optimize))
    return exported_of(quant, program, plan(program), folder)


def exported_of(quant: QuantGraph, program: Program, layout: Layout, folder: Path) -> Exported:
    """The C files of a planned program, opened as an export."""
    golden = golden_of(quant, samples_of(quant.graph), 2)
    for name, text in render(program, layout, golden, "case").files.items():
        (folder / name).write_text(text)
    manifest = {"layers": [{"name": step.layer} for step in program.steps]}
    return Exported(folder, "net", manifest, quant, golden.inputs)


def _pairs(backend: str) -> list[tuple[str, str]]:
    """Every case with every scheme that the table of the backend has its ops in."""
    kernels = BACKENDS[backend].kernels
    can = {(kernel.op, scheme) for kernel in kernels for scheme in kernel.schemes}
    ops = {name: {type(node.op) for node in make().nodes} for name, make in CASES.items()}
    # For widths that differ see test_widths.py.
    schemes = [scheme for scheme in ABOUT_SCHEMES if scheme not in ("q15x7", "mixed")]
    return [(n, s) for n in CASES for s in schemes if all((op, s) in can for op in ops[n])]


@pytest.mark.parametrize(("name", "scheme"), _pairs("plain-c"))
def test_integers_are_near_float(name: str, scheme: str) -> None:
    graph = CASES[name]()
    quant, samples = quantized(graph, scheme), samples_of(graph)
    output = graph.outputs[0]
    fmt = quant.formats()[output]
    expected = run_float(graph, samples)[output]
    got = fmt.dequantize(run_reference(quant, quantize_inputs(quant, samples))[output])
    kind = name.split("_", maxsplit=1)[0]
    weights_bits = 4 if scheme == "int4" else 8
    bits = weights_bits if kind in STEPS else fmt.bits
    coarsest = max(step_of(f, bits) for f in (fmt, *quant.input_formats.values()))
    allowed = STEPS.get(kind, 4) * coarsest
    assert (
        np.abs(got - np.clip(expected, *fmt.dequantize([fmt.lowest, fmt.highest]))).max() < allowed
    )


@pytest.mark.parametrize("backend", ["plain-c"])
@pytest.mark.parametrize(("name", "scheme"), [p for p in _pairs("plain-c") if p[0] != "reshape"])
def test_c_gives_the_integers(name: str, scheme: str, backend: str, tmp_path: Path) -> None:
    exported = write_c(quantized(CASES[name](), scheme), backend, tmp_path)
    verdict = verify(
        exported, random_inputs(exported.quant, 8), Target(sanitize=True, optimize="-O1")
    )
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    assert verdict.outputs_compared > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_of_constants_and_macros_begin_with_known_words(backend: str) -> None:
    """Else they could be those of an input or output: see names.network_names."""
    for name, scheme in _pairs(backend):
        for step in lower(quantized(CASES[name](), scheme), BACKENDS[backend], "net").steps:
            prefix = f"net_{step.layer}_"
            for one in (*step.consts, *step.defines):
                assert one.name.lower().startswith(prefix)
                word = one.name.lower().removeprefix(prefix).split("_")[0]
                assert word in LAYER_WORDS, one.name
