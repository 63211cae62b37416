"""Small quantized .tflite files: generated C gives the bytes of the reference, host and Cortex-M4.

``python -m tests.bench.exact`` does the same with 1,000 inputs of all files, and the interpreter.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.build import Target

pytest.importorskip("tensorflow")

from tests.bench.exact import files, in_c

pytestmark = pytest.mark.real

SMALL = 100_000  # bytes


def test_c_on_the_host(data_dir: Path) -> None:
    small = [path for path in files(data_dir) if path.stat().st_size < SMALL]
    found = {path.name: in_c(path, 2, Target(optimize="-O1")) for path in small}
    assert {name for name, count in found.items() if count.different} == set()
    assert min(count.compared for count in found.values()) > 50
    assert len(found) >= 4


def test_c_by_winograd(data_dir: Path) -> None:
    path = data_dir / "mlperf_tiny" / "image_classification" / "pretrainedResnet_quant.tflite"
    found = in_c(path, 2, Target(optimize="-O1"), optimize="fastest")
    assert found.different == 0
    assert found.compared > 200_000


def test_c_on_a_cortex_m4(data_dir: Path) -> None:
    path = data_dir / "mlperf_tiny" / "keyword_spotting" / "kws_ref_model.tflite"
    found = in_c(path, 2, Target("mps2-an386"))
    assert found.different == 0
    assert found.compared > 100_000
