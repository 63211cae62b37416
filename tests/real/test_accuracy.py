"""Accuracy of the speech networks in integers, against float and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.evaluate import evaluate
from mcu_export.samples import load_labels, load_samples
from tests.real.conftest import NETWORKS, SPEECH_NETWORKS, MakeExport

pytestmark = pytest.mark.real

# Shares of right answers on the evaluation part, from the float logits that come with the data.
FLOAT_ACCURACY = {"DS_CNN_S": 0.8975, "DS_CNN_L": 0.9117}


def _evaluate(name: str, scheme: str, export_network: MakeExport, data_dir: Path):
    exported = export_network(name, scheme=scheme)
    file = data_dir / NETWORKS[name].evaluation
    samples = load_samples(f"{file}{NETWORKS[name].key}", exported.quant.graph.inputs)
    labels = load_labels(f"{file}:label", 1630, 12)
    return evaluate(exported.quant, samples, labels)


@pytest.mark.parametrize("name", SPEECH_NETWORKS)
def test_q15_answers_like_float(name: str, export_network: MakeExport, data_dir: Path) -> None:
    result = _evaluate(name, "q15", export_network, data_dir)
    assert result.samples == 1630
    assert result.agreement >= 0.995
    assert result.float_accuracy == pytest.approx(
        FLOAT_ACCURACY.get(name, result.float_accuracy), abs=0.0005
    )


def test_q7_loses_at_most_3_points(export_network: MakeExport, data_dir: Path) -> None:
    result = _evaluate("DS_CNN_S", "q7", export_network, data_dir)
    assert result.drop is not None
    assert result.drop <= 3.0
