"""cmsis-nn: every integer of every layer equals the reference's, on the contract of the library.

Where CMSIS_NN_INC and CMSIS_NN_LIB name a CMSIS-NN, that one is used, on the host and in QEMU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.api import Sources, export_files
from mcu_export.backends import BACKENDS, backend_of
from mcu_export.backends.cmsis_nn.releases import RELEASES
from mcu_export.build import Target
from mcu_export.errors import ToolchainError
from mcu_export.exported import Exported, open_export
from mcu_export.lower import lower
from mcu_export.ops import DepthwiseConv2D, Padding
from mcu_export.quantize import ABOUT_SCHEMES
from mcu_export.reference import random_inputs
from mcu_export.verify import verify
from tests.backends.random_networks import random_layers, random_network
from tests.cases.networks import CASES, one_layer
from tests.cases.test_cases import quantized, write_c
from tests.contract import modern

PER_CHANNEL = "arm_fully_connected_per_channel"
SCHEMES = ("q7", "int8", "int4", "int16x8")
LAYERS = 100 if modern.given() else 10


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """For a release the variables that name its contract; none where a library is given."""
    made = {}

    def library(release: str) -> dict[str, str]:
        if modern.given():
            return {}
        if release not in made:
            folder = tmp_path_factory.mktemp("contract") / release
            made[release] = modern.build(folder, release=release)
        return made[release]

    return library


@pytest.fixture
def library(libraries, monkeypatch):
    """Puts the library of a release into the environment."""

    def choose(release: str) -> None:
        for name, value in libraries(release).items():
            monkeypatch.setenv(name, value)

    choose(modern.newest())
    return choose


def _assert_same(exported: Exported, samples: int) -> None:
    """Every layer gives the reference's integers, wherever the library runs."""
    inputs = random_inputs(exported.quant, samples)
    for target in modern.targets():
        verdict = verify(exported, inputs, target)
        assert (target, verdict.mismatches, verdict.first_difference) == (target, 0, None)


NAMES = (
    *("conv_1x1", "conv_odd", "conv_dilated", "depthwise_3x3", "depthwise_stride_2"),
    *("depthwise_multiplier", "dense_rows", "max_pool", "average_pool", "add", "multiply"),
    "softmax",
)


def _with_library_calls() -> list[tuple[str, str]]:
    """Cases and schemes with an op that the library has a function for."""
    rows = [k for k in BACKENDS["cmsis-nn"].kernels if k.name.startswith("arm_")]
    library = {(kernel.op, scheme) for kernel in rows for scheme in kernel.schemes}
    ops = {name: {type(node.op) for node in CASES[name]().nodes} for name in NAMES}
    return [
        (n, s) for n in NAMES for s in ABOUT_SCHEMES if any((op, s) in library for op in ops[n])
    ]


@pytest.mark.parametrize(("name", "scheme"), _with_library_calls())
def test_c_gives_the_integers(name: str, scheme: str, library, tmp_path: Path):
    quant = quantized(CASES[name](), scheme)
    _assert_same(write_c(quant, "cmsis-nn", tmp_path, modern.newest()), 8)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("release", modern.releases())
def test_releases(release: str, scheme: str, library, tmp_path: Path):
    library(release)
    quant = quantized(random_layers(seed=6, count=LAYERS), scheme)
    exported = write_c(quant, "cmsis-nn", tmp_path, release)
    assert f"Made for CMSIS-NN {release}" in (tmp_path / "net.c").read_text()
    _assert_same(exported, 4)


def test_network(library, tmp_path: Path):
    quant = quantized(random_network(seed=2, depth=12), "int8")
    _assert_same(write_c(quant, "cmsis-nn-dsp", tmp_path, modern.newest()), 4)


@pytest.mark.parametrize(("backend", "integers"), [("cmsis-nn", "int8"), ("cmsis-nn-dsp", "int16")])
def test_tflite_network(backend: str, integers: str, library, tmp_path: Path):
    pytest.importorskip("tensorflow")
    from tests.loaders.tflite_networks import all_operators, convert  # noqa: PLC0415

    model = tmp_path / "net.tflite"
    model.write_bytes(convert(lambda x: all_operators(x, integers == "int8"), integers))
    sources = Sources(model, "", "", None)
    options = {"name": "net", "backend": backend, "cmsis_nn_version": modern.newest()}
    export_files(sources, tmp_path / "out", options)
    exported = open_export(tmp_path / "out")
    assert exported.manifest["cmsis_nn_version"] == modern.newest()
    _assert_same(exported, 6)
    kernels = {layer["kernel"] for layer in exported.manifest["layers"]}
    assert {"arm_convolve_wrapper", "arm_depthwise_conv_wrapper", "arm_softmax"} <= kernels


@pytest.mark.skipif(modern.given(), reason="the library that is given runs there in every test")
def test_on_cortex_m4(tmp_path: Path, monkeypatch):
    compiler = ("arm-none-eabi-gcc", *modern.M4)
    made = modern.build(tmp_path / "library", compiler, "arm-none-eabi-ar")
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    exported = write_c(quantized(CASES["conv_3x3"](), "int8"), "cmsis-nn", tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 4), Target("mps2-an386"))
    assert verdict.mismatches == 0


@pytest.mark.parametrize("other", sorted(set(RELEASES) - {modern.newest()}))
def test_headers_of_another_release_do_not_compile(other: str, library, tmp_path: Path):
    """The compiler finds a conflict. Headers of 4.0.0 and 4.1.0 take every export."""
    if modern.newest() in ("4.0.0", "4.1.0"):
        pytest.skip("the library that is given has an interface that is contained in all others")
    exported = write_c(quantized(CASES["dense"](), "q7"), "cmsis-nn", tmp_path, other)
    with pytest.raises(ToolchainError, match=r"conflicting types for .arm_vector_sum_s8"):
        verify(exported, random_inputs(exported.quant, 1), Target())


def test_a_3x3_window_far_beyond_the_image_is_not_the_library_s():
    """Its kernel for 3x3 takes at least two columns of each window, whatever the padding."""
    for right, kernel in ((1, "arm_depthwise_conv_wrapper"), (2, "plain-c")):
        op = DepthwiseConv2D(padding=Padding(0, 0, 1, right))
        params = {"weights": (3, 3, 3), "bias": (3,)}
        quant = quantized(one_layer(op, (6, 6, 3), params), "q7")
        (step,) = lower(quant, backend_of("cmsis-nn"), "net").steps
        assert step.kernel.startswith(kernel)


@pytest.mark.parametrize("release", ["6.0.0", "7.0.0"])
def test_per_channel_dense_came_with_7(release: str):
    """Before, the layer is done by plain-c."""
    backend = backend_of("cmsis-nn", release)
    (step,) = lower(quantized(CASES["dense"](), "int8"), backend, "net").steps
    assert (step.kernel == PER_CHANNEL) == (release == "7.0.0")
    assert step.kernel.startswith("arm_") == (release == "7.0.0")
    reason = f"{PER_CHANNEL}_s8 came with CMSIS-NN 7.0.0"
    rows = [k for k in backend.kernels if k.name == PER_CHANNEL]
    assert reason in {constraint.__doc__ for k in rows for constraint in k.constraints}
