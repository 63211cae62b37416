"""Two generations of CMSIS-NN, one result: firmware on CMSIS 5 can move on and keep every byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcu_export.api import Sources, export_files
from mcu_export.build import pack_inputs, run_stream
from mcu_export.exported import Exported, open_export
from mcu_export.graph import Graph
from mcu_export.reference import random_inputs
from tests.backends.random_networks import random_layers, random_network
from tests.cases.test_cases import quantized, write_c
from tests.conftest import ROOT
from tests.contract import modern
from tests.kernels import kernel_variables

GENERATIONS = ("cmsis-nn-legacy", "cmsis-nn")
NETWORKS: dict[str, Callable[[], Graph]] = {
    "layers": lambda: random_layers(seed=4, count=24),
    "network": lambda: random_network(seed=5, depth=10),
}


def _trace(
    exported: Exported, backend: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """The bytes of every layer, (samples, bytes), that the backend's library gives."""
    with monkeypatch.context() as patch:
        given = kernel_variables(backend)
        if backend == "cmsis-nn" and not modern.given():
            given = modern.build(folder / "contract")
        for name, value in given.items():
            patch.setenv(name, value)
        inputs = random_inputs(exported.quant, 8)
        dtypes = {key: fmt.dtype for key, fmt in exported.quant.formats().items()}
        target, packed = modern.targets()[0], pack_inputs(inputs, dtypes)
        run = run_stream(exported.folder, exported.name, target, packed)
    return np.frombuffer(run.trace, np.uint8).reshape(8, -1)


def _kernels(exported: Exported) -> set[str]:
    return {layer["kernel"].split("_q7")[0] for layer in exported.manifest["layers"]}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_give_equal_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    quant, traces = quantized(NETWORKS[name](), "q7"), []
    for backend in GENERATIONS:
        folder = tmp_path / backend
        folder.mkdir()
        release = modern.newest() if backend == "cmsis-nn" else ""
        exported = write_c(quant, backend, folder, release)
        traces.append(_trace(exported, backend, tmp_path, monkeypatch))
    assert np.array_equal(*traces)
    assert len(np.unique(traces[0])) > 100


def test_the_demo_gives_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = ROOT / "firmware" / "models" / "kws"
    sources = Sources(folder / "kws.keras", f"{folder / 'calibration.npz'}:features")
    traces, kernels = [], []
    for backend in GENERATIONS:
        options = {"name": "kws", "scheme": "q7", "backend": backend, "calibration": "mse"}
        if backend == "cmsis-nn":
            options["cmsis_nn_version"] = modern.newest()
        export_files(sources, tmp_path / backend, options)
        exported = open_export(tmp_path / backend)
        traces.append(_trace(exported, backend, tmp_path, monkeypatch))
        kernels.append(_kernels(exported))
    assert np.array_equal(*traces)
    assert "arm_depthwise_separable_conv_HWC" in kernels[0]
    assert "arm_depthwise_conv_wrapper" in kernels[1]
