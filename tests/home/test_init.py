"""``mcu-export init`` in an empty repository, in one with a model, in one with a build."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mcu_export.config import read_config
from mcu_export.errors import SamplesError, UsageError
from mcu_export.starter import MAKE_LINES, start
from tests.home.conftest import Tool

OWN_MAKEFILE = "all:\n\t$(CC) -c main.c\n"


def test_a_repository_with_a_model_builds_at_once(
    repository: Path, mcu_export_command: str
) -> None:
    (repository / "calibration.npz").rename(repository / "samples.npz")
    started = start(repository, [], str(repository / "samples.npz:features[:4]"))
    assert started.written == ("mcu-export.toml", "main.c", "Makefile")
    makefile = (repository / "Makefile").read_text()
    assert MAKE_LINES in makefile
    (repository / "Makefile").write_text(
        makefile.replace("$(shell mcu-export ", f"$(shell {mcu_export_command} ")
    )
    flags = "CFLAGS=-std=c99 -Wall -Wextra -Wconversion -pedantic -Werror"
    command = ["make", f"MCU_EXPORT={mcu_export_command}", flags]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([repository / "app"], check=False).returncode in (0, 1)


def test_an_empty_repository_gets_a_valid_configuration(tmp_path: Path) -> None:
    assert start(tmp_path, [], "").written == ("mcu-export.toml", "main.c", "Makefile")
    (model,) = read_config(tmp_path / "mcu-export.toml").models
    assert (model.name, model.sources.model.name) == ("net", "net.keras")


def test_a_build_of_its_own_is_left_alone(repository: Path, tool: Tool) -> None:
    (repository / "Makefile").write_text(OWN_MAKEFILE)
    (repository / "main.c").write_text("int main(void) { return 0; }\n")
    before = {path.name: path.read_bytes() for path in repository.iterdir()}
    done = tool("init")
    assert done.returncode == 0, done.stderr
    assert MAKE_LINES in done.stdout
    after = {path.name: path.read_bytes() for path in repository.iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"mcu-export.toml", "mcu_export_example.c"}
    again = tool("init", "--json")
    assert '"written": []' in again.stdout
    assert {path.name: path.read_bytes() for path in repository.iterdir()} == after


def test_nothing_is_written_where_the_samples_do_not_fit(repository: Path) -> None:
    with pytest.raises(SamplesError):
        start(repository, [repository / "kws.keras"], str(repository / "calibration.npz:none"))
    assert not (repository / "mcu-export.toml").exists()


def test_two_files_of_one_name_are_refused(repository: Path) -> None:
    (repository / "more").mkdir()
    (repository / "more/kws.keras").write_bytes((repository / "kws.keras").read_bytes())
    with pytest.raises(UsageError, match="called 'kws'"):
        start(repository, [], "")
