"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from mcu_export.cli import main
from tests.cli.tool import Result
from tests.kernels import kernel_variables

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every run, and no failure because a machine is busy.
settings.register_profile(
    "project",
    deadline=None,
    derandomize=True,
    max_examples=40,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real networks; without it a test skips, or fails where it is required."""
    folder = Path(os.environ.get("MCU_EXPORT_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return folder
    if os.environ.get("MCU_EXPORT_REQUIRE_DATA") == "1":
        pytest.fail(f"MCU_EXPORT_REQUIRE_DATA is set, but there is no {folder}")
    pytest.skip("needs the real networks: set MCU_EXPORT_DATA to their folder")


@pytest.fixture(scope="session")
def tf() -> ModuleType:
    """TensorFlow, imported once: the oracle of float arithmetic."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow  # noqa: PLC0415 -- takes seconds

    return tensorflow


@pytest.fixture
def use_kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Tells builds where the kernels of a backend are that are not this project's own."""

    def use(backend: str) -> None:
        for name, value in kernel_variables(backend).items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> object:
    """Runs a command in this process."""

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(int(stopped.value.code or 0), out, err)

    return call
