"""``export --config`` and the Makefile fragment with a configuration."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from mcu_export.batch import export_all
from mcu_export.config import read_config
from mcu_export.errors import BudgetError
from tests.home.conftest import Tool

CONFIG = """\
[defaults]
samples = "calibration.npz:features[:4]"
calibration = "mse"

[models.first]
model = "kws.keras"
labels = "labels.txt"

[models.second]
model = "kws.keras"
scheme = "q15"
"""


@pytest.fixture
def configured(repository: Path) -> Path:
    (repository / "mcu-export.toml").write_text(CONFIG)
    return repository


def test_all_models_are_exported(configured: Path, tool: Tool) -> None:
    done = tool("export", "--config", "--json")
    assert done.returncode == 0, done.stderr
    manifests = json.loads(done.stdout)["models"]
    assert [manifests[name]["scheme"] for name in ("first", "second")] == ["q7", "q15"]
    for model in read_config(configured / "mcu-export.toml").models:
        assert {str(path) for path in model.folder.iterdir()} == set(model.outputs)
    assert tool("export", "--config", "--check").returncode == 0
    (configured / "build/first/first.h").unlink()
    again = tool("export", "--config", "second", "--check")
    assert again.returncode == 0
    stale = tool("export", "--config", "mcu-export.toml", "first", "--check", "--json")
    assert stale.returncode == 9
    assert json.loads(stale.stdout)["where"].startswith("mcu-export.toml:5, models.first")


def test_one_that_fails_does_not_stop_the_others(configured: Path) -> None:
    path = configured / "mcu-export.toml"
    path.write_text(CONFIG.replace('labels = "labels.txt"', "max-ram = 5"))
    seen = []
    outcomes = export_all(read_config(path).models, progress=seen.append)
    assert isinstance(outcomes[0].error, BudgetError)
    assert outcomes[0].error.where.startswith(f"{path}:5, models.first: --max-ram; the largest: ")
    assert outcomes[1].error is None
    assert len(outcomes[1].changed) == 6
    assert {outcome.name for outcome in seen} == {"first", "second"}


def test_options_of_a_model_are_refused_beside_a_configuration(
    configured: Path, tool: Tool
) -> None:
    done = tool("export", "--config", "--scheme", "q7")
    assert done.returncode == 2
    assert "where: --scheme" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((), "no model file"), (("a", "b", "-o", "x"), "one model"), (("a.keras",), "no folder")],
)
def test_a_single_export_needs_a_model_and_a_folder(
    tool: Tool, arguments: tuple[str, ...], says: str
) -> None:
    done = tool("export", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_make_builds_the_models_and_only_when_needed(
    configured: Path, mcu_export_command: str
) -> None:
    fragment = Path(__file__).resolve().parents[2] / "firmware/mcu-export.mk"
    (configured / "Makefile").write_text(
        "objects: first.o second.o\n"
        "MODEL_CONFIG = mcu-export.toml\n"
        f"include {fragment}\n"
        "vpath %.c $(MODEL_DIRS)\n"
        "%.o: %.c\n\t@echo compile $<\n\t@$(CC) $(addprefix -I,$(MODEL_DIRS)) -c $< -o $@\n"
        "first.o: $(filter build/first/%,$(MODEL_OUTPUTS))\n"
        "second.o: $(filter build/second/%,$(MODEL_OUTPUTS))\n"
    )

    def make(*arguments: str) -> str:
        command = ["make", "--no-print-directory", f"MCU_EXPORT={mcu_export_command}", *arguments]
        done = subprocess.run(command, cwd=configured, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "compile build/first/first.c" in make()
    assert make() == ""
    os.utime(configured / "mcu-export.toml")
    touched = make()
    assert "export --config" in touched
    assert "compile" not in touched
    (configured / "mcu-export.toml").write_text(CONFIG.replace('"q15"', '"q7"'))
    changed = make()
    assert "compile build/second/second.c" in changed
    assert "compile build/first/first.c" not in changed
    (configured / "build/first/first.h").unlink()
    assert "compile build/first/first.c" in make()
    assert "calibration.npz" in (configured / "build/mcu-export/models.d").read_text()
    make("model-check")
