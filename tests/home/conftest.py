"""The demo network, exported once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcu_export.api import Sources, export_files

ROOT = Path(__file__).resolve().parents[2]
KWS = ROOT / "firmware/models/kws"
FEATURES = f"{KWS}/calibration.npz:features[:16]"

Tool = Callable[..., subprocess.CompletedProcess[str]]


def export_kws(folder: Path, **options: object) -> Path:
    """The demo network, exported to ``folder`` on a few samples."""
    sources = Sources(KWS / "kws.keras", FEATURES, "", KWS / "labels.txt")
    export_files(sources, folder, {"name": "kws", "calibration": "mse", **options})
    return folder


@pytest.fixture(scope="session")
def kws_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the demo network; do not change it."""
    return export_kws(tmp_path_factory.mktemp("kws"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with the files of the demo network."""
    for name in ("kws.keras", "calibration.npz", "labels.txt"):
        shutil.copy(KWS / name, tmp_path)
    return tmp_path


def environment() -> dict[str, str]:
    """Where ``mcu_export`` is found, whatever the current directory."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Runs ``mcu-export ...`` in ``tmp_path``; the exit code is the caller's to check."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mcu_export", *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def mcu_export_command(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path that make can call as ``mcu-export``."""
    script = tmp_path_factory.mktemp("bin") / "mcu-export"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m mcu_export "$@"\n')
    script.chmod(0o755)
    return str(script)
