"""DS_CNN_S against the weights that Arm ships for it.

Arm folded its batch norms with an epsilon of 0: so do we when told, and only then.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.real.conftest import MakeExport

pytestmark = pytest.mark.real


def _differences(exported, data_dir: Path) -> tuple[int, int]:
    """Weights and biases that differ from Arm's, and how many there are."""
    golden = np.load(data_dir / "mlkws/golden/arm_ds_cnn_weights_q7.npz")
    layers = [layer for layer in exported.quant.nodes if layer.params]
    arrays = [layer.params[role] for layer in layers for role in ("weights", "bias")]
    assert len(arrays) == len(golden.files)
    differ = sum(
        int((ours.ravel() != golden[key]).sum())
        for ours, key in zip(arrays, golden.files, strict=True)
    )
    return differ, sum(array.size for array in arrays)


def test_epsilon_0_and_minmax_give_arms_weights(export_network: MakeExport, data_dir: Path) -> None:
    exported = export_network("DS_CNN_S", calibration="minmax", bn_epsilon=0.0)
    assert _differences(exported, data_dir) == (0, 22604)


def test_the_epsilon_of_the_graph_gives_others(export_network: MakeExport, data_dir: Path) -> None:
    exported = export_network("DS_CNN_S", calibration="minmax")
    differ, total = _differences(exported, data_dir)
    assert 0.05 * total < differ < 0.15 * total
    assert all(fold["epsilon"] == pytest.approx(0.001) for fold in exported.manifest["folds"])
