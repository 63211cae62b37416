"""int8 and int16x8 in C: every integer of every layer equals the reference's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.api import Sources, export_files
from mcu_export.build import Target
from mcu_export.errors import UsageError
from mcu_export.exported import open_export
from mcu_export.reference import random_inputs
from mcu_export.verify import verify

pytest.importorskip("tensorflow")

from tests.loaders.tflite_networks import all_operators, convert

TARGETS = {
    "gcc": Target(),
    "clang with sanitizers": Target(compiler="clang", sanitize=True, optimize="-O1"),
    "Cortex-M4": Target("mps2-an386"),
}


@pytest.fixture(scope="module", params=["int8", "int16"])
def exported(request, tmp_path_factory):
    """A network with every operator, exported without samples."""
    folder = tmp_path_factory.mktemp(request.param)
    model = folder / "net.tflite"
    model.write_bytes(convert(lambda x: all_operators(x, request.param == "int8"), request.param))
    export_files(Sources(model, "", "", None), folder / "out", {"name": "net"})
    return open_export(folder / "out")


@pytest.mark.parametrize("target", TARGETS)
def test_every_operator_in_c(exported, target: str):
    verdict = verify(exported, random_inputs(exported.quant, 6), TARGETS[target])
    assert verdict.outputs_compared > 6 * 20_000
    assert verdict.mismatches == 0, verdict.first_difference


def test_manifest_says_how_layers_round(exported):
    dense = next(layer for layer in exported.manifest["layers"] if layer["op"] == "dense")
    wide = exported.manifest["scheme"] == "int16x8"
    assert dense["rounding"] == ("wide" if wide else "double")
    assert dense["accumulator_bound"] < 2 ** (47 if wide else 31)
    assert exported.manifest["details"]["same_bytes_as"] == "TensorFlow Lite Micro"


def test_a_quantized_file_keeps_its_scheme(exported, tmp_path: Path):
    model = exported.folder.parent / "net.tflite"
    with pytest.raises(UsageError, match="quantized already"):
        export_files(Sources(model, "", "", None), tmp_path, {"name": "net", "scheme": "q7"})
    with pytest.raises(UsageError, match="the file has its own"):
        export_files(Sources(model, "", "", None), tmp_path, {"sample_labels": "l.npz:y"})
