"""Fixtures of the command line: a way to call it, samples, an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcu_export
from tests.cli.tool import (
    MODEL,
)
from tests.helpers import KWS


@pytest.fixture(scope="session")
def small_samples(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twenty samples: enough to calibrate on in a test."""
    path = tmp_path_factory.mktemp("samples") / "few.npz"
    np.savez(path, features=np.load(KWS / "calibration.npz")["features"][:20])
    return str(path)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, small_samples: str) -> Path:
    """An export that no test changes."""
    folder = tmp_path_factory.mktemp("export")
    mcu_export.export(MODEL, folder, samples=small_samples)
    return folder
