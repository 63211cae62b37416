"""cmsis-nn: every integer of every layer equals the reference's, on the contract of the library.

Where CMSIS_NN_INC and CMSIS_NN_LIB name a CMSIS-NN 7 for the host, that one is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.api import Sources, export_files
from mcu_export.backends import BACKENDS
from mcu_export.backends.cmsis_nn import sizes
from mcu_export.backends.plain_c.kernels import Window
from mcu_export.build import Target
from mcu_export.exported import open_export
from mcu_export.quantize import ABOUT_SCHEMES
from mcu_export.reference import random_inputs
from mcu_export.verify import verify
from tests.cases.networks import CASES
from tests.cases.test_cases import quantized, write_c
from tests.contract import modern

M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Variables that name the library for the host, with sanitizers if it is the contract."""
    if modern.given():
        return {}
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return modern.build(tmp_path_factory.mktemp("contract"), ("cc", *flags))


@pytest.fixture
def library(host, monkeypatch):
    """The library for the host, in the environment."""
    for name, value in host.items():
        monkeypatch.setenv(name, value)


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
    exported = write_c(quantized(CASES[name](), scheme), "cmsis-nn", tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 8), Target(sanitize=True))
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


@pytest.mark.parametrize(("backend", "integers"), [("cmsis-nn", "int8"), ("cmsis-nn-dsp", "int16")])
def test_tflite_network(backend: str, integers: str, library, tmp_path: Path):
    pytest.importorskip("tensorflow")
    from tests.loaders.tflite_networks import all_operators, convert  # noqa: PLC0415

    model = tmp_path / "net.tflite"
    model.write_bytes(convert(lambda x: all_operators(x, integers == "int8"), integers))
    sources = Sources(model, "", "", None)
    export_files(sources, tmp_path / "out", {"name": "net", "backend": backend})
    exported = open_export(tmp_path / "out")
    verdict = verify(exported, random_inputs(exported.quant, 6), Target(sanitize=True))
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    kernels = {layer["kernel"] for layer in exported.manifest["layers"]}
    assert {"arm_convolve_wrapper", "arm_depthwise_conv_wrapper", "arm_softmax"} <= kernels


@pytest.mark.skipif(modern.given(), reason="the library that is given is for the host")
def test_on_cortex_m4(tmp_path: Path, monkeypatch):
    made = modern.build(tmp_path / "library", ("arm-none-eabi-gcc", *M4), "arm-none-eabi-ar")
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    exported = write_c(quantized(CASES["conv_3x3"](), "int8"), "cmsis-nn", tmp_path)
    verdict = verify(exported, random_inputs(exported.quant, 4), Target("mps2-an386"))
    assert verdict.mismatches == 0


def test_q7_gives_the_same_bytes_through_other_kernels(library, tmp_path: Path):
    quant = quantized(CASES["conv_3x3"](), "q7")
    inputs = random_inputs(quant, 16)
    for backend in ("plain-c", "cmsis-nn"):
        (tmp_path / backend).mkdir()
        exported = write_c(quant, backend, tmp_path / backend)
        verdict = verify(exported, inputs, Target(sanitize=True))
        assert verdict.mismatches == 0


def _window(size: int, channels: int, out: int, kernel: int, **more: int) -> Window:
    values = dict.fromkeys(("dilation_y", "dilation_x", "stride_y", "stride_x"), 1)
    values |= {"pad_top": 0, "pad_left": 0, "padded": False, **more}
    return Window(size, size, channels, size, size, out, kernel, kernel, **values)


@pytest.mark.parametrize(
    ("function", "window", "dsp", "mve"),
    [
        # The values are those of arm_*_get_buffer_size_dsp and _mve of CMSIS-NN 7.0.0.
        (sizes.convolve_s8, _window(8, 8, 4, 1), 32, 32),
        (sizes.convolve_s8, _window(8, 8, 4, 1, stride_x=2), 0, 0),
        (sizes.convolve_s8, _window(8, 3, 4, 3), 112, 128),
        (sizes.convolve_s16, _window(8, 3, 4, 3), 108, 256),
        (sizes.depthwise_s8, _window(8, 8, 8, 3), 0, 4464),
        (sizes.depthwise_s8, _window(8, 8, 8, 5), 400, 12400),
        (sizes.depthwise_s8, _window(8, 8, 16, 3), 0, 0),
        (sizes.depthwise_s8, _window(8, 1, 8, 3), 0, 136),
    ],
)
def test_scratch_sizes(function, window: Window, dsp: int, mve: int):
    assert function(window, False) == dsp
    assert function(window, True) >= mve
    assert np.all(function(window, True) >= dsp)
