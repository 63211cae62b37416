"""cmsis-nn-legacy: every layer gets the kernel it should, and gives the bytes of the reference."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcu_export.backends import BACKENDS
from mcu_export.backends.cmsis_nn_legacy.interleave import interleaved
from mcu_export.build import Target
from mcu_export.errors import ToolchainError, UnsupportedLayerError
from mcu_export.exported import Exported
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.lower import lower
from mcu_export.ops import Add, MaxPool2D, Reshape
from mcu_export.plan import plan
from mcu_export.program import Program
from mcu_export.quantize import quantize
from mcu_export.reference import random_inputs
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.verify import Verdict, verify
from tests.backends.legacy_cases import CASES, TOO_LARGE, Case, expected, network
from tests.backends.random_networks import random_layers, random_network
from tests.cases.test_cases import quantized, write_c
from tests.kernels import LEGACY

NAME = "cmsis-nn-legacy"
BACKEND = BACKENDS[NAME]
UseKernels = Callable[[str], None]

HOSTS = {
    compiler: Target(compiler=compiler, sanitize=True, optimize="-O0")
    for compiler in ("gcc", "clang")
}
BOARDS = {"M4": Target("mps2-an386"), "M55": Target("mps3-an547")}
TABLE = [(scheme, name) for scheme, cases in CASES.items() for name in cases]


def _program(graph: Graph, scheme: str) -> Program:
    return lower(quantized(graph, scheme), BACKEND, "net")


def _check(case: Case, scheme: str) -> None:
    (step,) = _program(network({"layer": case}), scheme).steps
    wanted = expected(case, scheme)
    # plain-c may have several kernels for an op; which one is its own affair.
    assert step.kernel.startswith(wanted) if wanted.startswith("plain-c") else step.kernel == wanted


@pytest.mark.parametrize(("scheme", "name"), TABLE)
def test_a_layer_gets_its_kernel(scheme: str, name: str) -> None:
    _check(CASES[scheme][name], scheme)


@pytest.mark.parametrize("name", TOO_LARGE)
def test_counters_of_16_bits(name: str) -> None:
    scheme, case = TOO_LARGE[name]
    _check(case, scheme)


@pytest.mark.parametrize(("bits", "kernel"), [(8, "arm_"), (16, "plain-c dense")])
def test_a_bias_of_16_bits_beside_weights_of_8(bits: int, kernel: str) -> None:
    graph = network({"layer": CASES["q15x7"]["dense 3 outputs"]})
    usual = quantized(graph, "q15x7")
    (layer,) = usual.nodes
    formats = {**layer.param_formats, "bias": PowerOfTwo(bits, 3)}
    activations = {name: fmt for name, fmt in usual.formats().items() if name in graph.shapes()}
    made = quantize(graph, "q15x7", activations, {layer.name: formats})
    (step,) = lower(made, BACKEND, "net").steps
    assert step.kernel.startswith(kernel)


@pytest.mark.parametrize("scheme", CASES)
def test_every_kernel_of_the_table_is_tried(scheme: str) -> None:
    tried = {(type(case.op), case.kernel) for case in CASES[scheme].values()}
    arm = {
        (kernel.op, kernel.name)
        for kernel in BACKEND.kernels
        if kernel.name.startswith("arm_") and scheme in kernel.schemes
    }
    assert arm and arm <= tried


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Every case of an arm kernel and some random layers side by side, and random networks."""
    made = {}
    for scheme, cases in CASES.items():
        graphs = {
            "cases": network({k: v for k, v in cases.items() if v.kernel.startswith("arm_")}),
            "layers": random_layers(seed=1, count=24),
            "network": random_network(seed=2, depth=12),
        }
        for name, graph in graphs.items():
            folder = tmp_path_factory.mktemp(f"{scheme}_{name}")
            made[f"{scheme} {name}"] = write_c(quantized(graph, scheme), NAME, folder)
    return made


EXPORTS = [f"{scheme} {name}" for scheme in CASES for name in ("cases", "layers", "network")]


def _verify(exported: Exported, target: Target, samples: int = 6) -> Verdict:
    verdict = verify(exported, random_inputs(exported.quant, samples), target)
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    assert verdict.outputs_compared > 1000
    return verdict


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("compiler", HOSTS)
def test_bytes_on_the_host(
    compiler: str, name: str, exports: dict[str, Exported], use_kernels: UseKernels
) -> None:
    use_kernels(NAME)
    _verify(exports[name], HOSTS[compiler])


@pytest.mark.parametrize("name", ["q7 cases", "q15 cases", "q15x7 cases"])
@pytest.mark.parametrize("board", BOARDS)
def test_bytes_in_qemu(
    board: str, name: str, exports: dict[str, Exported], use_kernels: UseKernels
) -> None:
    use_kernels(NAME)
    verdict = _verify(exports[name], BOARDS[board], samples=2)
    assert verdict.instructions and verdict.stack_bytes


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_code_is_cpp_too(compiler: str, exports: dict[str, Exported]) -> None:
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    for exported in exports.values():
        command = [compiler, "-std=c++11", *warnings, f"-I{LEGACY}", "-fsyntax-only", "-x", "c++"]
        subprocess.run([*command, str(exported.folder / "net.c")], check=True)


def _pooled(*, again: str) -> Graph:
    """An image that is pooled; ``again`` says who else needs it."""
    builder = GraphBuilder("pooled")
    image = builder.input("image", (4, 4, 2))
    source = builder.add("sum", Add(), [image, image])
    named = builder.add("named", Reshape((4, 4, 2)), [source])
    outputs = [builder.add("pool", MaxPool2D((2, 2), (2, 2)), [named])]
    if again == "layer":
        outputs.append(builder.add("later", Add(), [source, source]))
    elif again == "reshape":
        outputs.append(builder.add("flat", Reshape((32,)), [source]))
    elif again == "output":
        outputs.append(source)
    return builder.finish(outputs, {})


@pytest.mark.parametrize(
    ("again", "kernel"),
    [
        ("", "arm_maxpool_q7_HWC"),
        ("layer", "plain-c max_pool2d"),
        ("reshape", "plain-c max_pool2d"),
        ("output", "plain-c max_pool2d"),
    ],
)
def test_pooling_destroys_only_what_nobody_needs(again: str, kernel: str) -> None:
    steps = {step.layer: step.kernel for step in _program(_pooled(again=again), "q7").steps}
    assert steps["pool"].startswith(kernel)


def test_rgb_finds_a_byte_behind_its_input() -> None:
    program = _program(network({"rgb": CASES["q7"]["RGB whole words"]}), "q7")
    layout, (source,) = plan(program), program.inputs
    size = program.values[source.value].bytes
    assert size % 8 == 0
    assert layout.arena_bytes > layout.offsets[source.value] + size


@pytest.mark.parametrize(
    ("scheme", "order"),
    [
        ("q7", "a1 b1 a3 b3 c1 d1 c3 d3 a2 b2 a4 b4 c2 d2 c4 d4"),
        ("q15", "a1 a2 b1 b2 c1 c2 d1 d2 a3 a4 b3 b4 c3 c4 d3 d4"),
        ("q15x7", "a1 b1 a2 b2 c1 d1 c2 d2 a3 b3 a4 b4 c3 d3 c4 d4"),
    ],
)
def test_order_of_interleaved_weights(scheme: str, order: str) -> None:
    names = np.array([[f"{row}{column}" for column in "12345"] for row in "abcdefghi"])
    flat = " ".join(interleaved(names, scheme))
    assert flat.startswith(f"{order} a5 b5 c5 d5 e1 ")
    assert flat.endswith(" e5 f5 g5 h5 i1 i2 i3 i4 i5")
    assert sorted(flat.split()) == sorted(names.ravel())


def test_scratch_is_what_the_kernels_ask_for() -> None:
    steps = {step.layer: step for step in _program(network(CASES["q7"]), "q7").steps}
    scratch = {name: step.scratch.bytes for name, step in steps.items() if step.scratch}
    assert scratch["fast"] == 2 * 2 * (3 * 3 * 4)
    assert scratch["depthwise"] == 2 * 2 * (3 * 3 * 6)
    assert scratch["dense opt left over"] == 2 * 11
    assert "max pool" not in scratch


def test_a_refusal_names_every_kernel_and_its_reason() -> None:
    arm_only = type(BACKEND)(NAME, "", tuple(k for k in BACKEND.kernels if "arm_" in k.name))
    quant = quantized(network({"layer": CASES["q7"]["dilated"]}), "q7")
    with pytest.raises(UnsupportedLayerError) as caught:
        lower(quant, arm_only, "net")
    assert "arm_convolve_HWC_q7_basic: Input, window" in caught.value.what
    assert "The window must not be dilated" in caught.value.what
    assert "plain-c" in caught.value.fix


def test_without_the_library_the_error_says_what_to_set(
    exports: dict[str, Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = exports["q7 network"]
    inputs = random_inputs(exported.quant, 1)
    for missing, given in (("header", {}), ("library", {"CMSIS_NN_INC": str(LEGACY)})):
        for name in ("CMSIS_NN_INC", "CMSIS_NN_LIB", "EXTRA_SOURCES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ToolchainError) as caught:
            verify(exported, inputs, Target())
        assert caught.value.exit_code == 8
        assert "CMSIS_NN_INC" in caught.value.fix and "CMSIS_NN_LIB" in caught.value.fix, missing


@pytest.mark.parametrize("target", [Target(), BOARDS["M4"]], ids=["host", "M4"])
def test_a_kernel_that_refuses_stops_the_program(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quant = quantized(network({"layer": CASES["q7"]["dense opt"]}), "q7")
    exported = write_c(quant, NAME, tmp_path)
    refusing = tmp_path / "refusing"
    refusing.mkdir()
    shutil.copy(LEGACY / "contract.h", refusing)
    shutil.copy(LEGACY / "arm_nnfunctions.h", refusing)
    source = (LEGACY / "fully_connected.c").read_text()
    assert "ARM_MATH_SUCCESS" in source
    (refusing / "kernels.c").write_text(
        source.replace("ARM_MATH_SUCCESS", "ARM_MATH_SIZE_MISMATCH")
    )
    monkeypatch.setenv("CMSIS_NN_INC", str(refusing))
    monkeypatch.setenv("EXTRA_SOURCES", str(refusing / "kernels.c"))
    with pytest.raises(ToolchainError) as caught:
        verify(exported, random_inputs(quant, 1), target)
    assert "abort" in str(caught.value).lower()
