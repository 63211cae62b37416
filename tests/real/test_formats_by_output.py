"""What the default search loses on real networks, on samples that it has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.evaluate import evaluate
from mcu_export.samples import load_labels, load_samples
from tests.real.conftest import NETWORKS, MakeExport

pytestmark = pytest.mark.real


# DS_CNN_S loses 0.55: see "Measured" in the README.
@pytest.mark.parametrize("name", ["DNN_S", "CNN_S", "CNN_M"])
def test_q7_loses_at_most_half_a_point(
    name: str, export_network: MakeExport, data_dir: Path
) -> None:
    exported = export_network(name, scheme="q7")
    file = data_dir / NETWORKS[name].evaluation
    samples = load_samples(f"{file}{NETWORKS[name].key}", exported.quant.graph.inputs)
    result = evaluate(exported.quant, samples, load_labels(f"{file}:label", 1630, 12))
    assert result.drop is not None
    assert result.drop <= 0.5
