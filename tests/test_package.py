"""The wheel carries all that the tool needs, and works where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from mcu_export.version import __version__
from tests.helpers import KWS, ROOT, run

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: an editable checkout must not leak into it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = run([*build, "-w", folder, folder / "source"])
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel; what it needs comes from this Python."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    done = run([*install, "--target", folder, wheel])
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    return folder


def tool(installed: Path, folder: Path, *arguments: object) -> CompletedProcess[str]:
    """The installed command, in a folder that is no checkout."""
    code = "import sys; from mcu_export.cli import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code, *arguments]
    return run(command, folder, env=environment)  # type: ignore[return-value]


def files_of(folder: str) -> set[str]:
    """Files of a folder that git knows or could know."""
    made = {"build", "__pycache__"}
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not made & set(path.parts[len(ROOT.parts) :])
    }


def test_the_wheel_carries_every_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {name for name in files_of("mcu_export") if name.endswith(".py")}
    data = {f"mcu_export/_data/{name}" for name in files_of("templates") | files_of("firmware")}
    assert modules <= names
    assert data <= names
    assert "mcu_export/py.typed" in names


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    for name in zipfile.ZipFile(wheel).namelist():
        assert name.split("/")[0] in ("mcu_export", f"mcu_export-{__version__}.dist-info")
        assert not name.endswith((".pyc", ".o", ".elf"))


def test_the_wheel_is_what_its_name_says(wheel: Path) -> None:
    assert wheel.name == f"mcu_export-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        entry = archive.read(f"mcu_export-{__version__}.dist-info/entry_points.txt").decode()
        metadata = archive.read(f"mcu_export-{__version__}.dist-info/METADATA").decode()
    assert "mcu-export = mcu_export.cli:main" in entry
    assert f"Version: {__version__}" in metadata


def test_the_installed_tool_uses_its_own_files(installed: Path, tmp_path: Path) -> None:
    code = "import mcu_export; print(mcu_export.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    where = run([sys.executable, "-c", code], tmp_path, env=environment)
    assert where.stdout.startswith(str(installed))  # type: ignore[attr-defined]
    fragment = Path(tool(installed, tmp_path, "makefile").stdout.strip())
    assert fragment == installed / "mcu_export" / "_data" / "firmware" / "mcu-export.mk"
    assert fragment.is_file()


def test_the_installed_tool_exports_and_verifies(installed: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.load(KWS / "calibration.npz")["features"][:20])
    shutil.copy(KWS / "kws.keras", tmp_path)
    done = tool(installed, tmp_path, "export", "kws.keras", "-o", "out", "--samples", "few.npz")
    assert done.returncode == 0, done.stderr
    for on in ("host", "qemu"):
        done = tool(installed, tmp_path, "verify", "out", "--on", on, "--count", 3, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["mismatches"] == 0
    boards = json.loads(tool(installed, tmp_path, "list", "boards", "--json").stdout)["boards"]
    assert {"host", "mps2-an386", "mps3-an547"} <= {row["board"] for row in boards}


def test_verifying_writes_nothing_into_the_installation(installed: Path, tmp_path: Path) -> None:
    data = installed / "mcu_export" / "_data"
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    np.savez(tmp_path / "few.npz", x=np.load(KWS / "calibration.npz")["features"][:5])
    model = KWS / "kws.keras"
    assert not tool(
        installed, tmp_path, "export", model, "-o", "out", "--samples", "few.npz"
    ).returncode
    assert not tool(installed, tmp_path, "verify", "out", "--count", 1).returncode
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
