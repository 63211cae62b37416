"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real networks; without it a test skips, or fails where it is required."""
    folder = Path(os.environ.get("MCU_EXPORT_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return folder
    if os.environ.get("MCU_EXPORT_REQUIRE_DATA") == "1":
        pytest.fail(f"MCU_EXPORT_REQUIRE_DATA is set, but there is no {folder}")
    pytest.skip("needs the real networks: set MCU_EXPORT_DATA to their folder")
