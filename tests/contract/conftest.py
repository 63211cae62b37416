"""The contracts as a library that Python calls."""

from __future__ import annotations

import ctypes
import subprocess

import pytest

from tests.contract.calling import WARNINGS
from tests.kernels import LEGACY


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All contracts in one library."""
    made = tmp_path_factory.mktemp("contract") / "legacy.so"
    sources = sorted(map(str, LEGACY.glob("*.c")))
    options = ["-std=c99", "-O1", "-shared", "-fPIC", *WARNINGS]
    subprocess.run(["gcc", *options, *sources, "-o", str(made), "-lm"], check=True)
    return ctypes.CDLL(str(made))
