"""``firmware/mcu-export.mk`` in an embedded repository of its own, with three lines."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from mcu_export.resources import resource_dir
from tests.helpers import KWS, run

PAST = 1_500_000_000
MAKEFILE = """\
MODEL_FILE    = net.keras
MODEL_SAMPLES = calibration.npz:features
include {fragment}

firmware.elf: main.o model.o
	@echo LINK; cat $^ > $@
main.o: main.c $(MODEL_DIR)/$(MODEL).h
	@echo CC main; $(CC) -I$(MODEL_DIR) -c $< -o $@
model.o: $(MODEL_SOURCE)
	@echo CC model; $(CC) -I$(MODEL_DIR) -c $< -o $@
.DEFAULT_GOAL := firmware.elf
"""


class Repository:
    """An embedded repository that exports a model before it builds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "build" / "net"
        fragment = resource_dir("firmware") / "mcu-export.mk"
        (folder / "Makefile").write_text(MAKEFILE.format(fragment=fragment))
        (folder / "main.c").write_text(
            '#include "net.h"\nint main(void) { net_run(); return 0; }\n'
        )
        shutil.copy(KWS / "kws.keras", folder / "net.keras")
        features = np.load(KWS / "calibration.npz")["features"][:20]
        np.savez(folder / "calibration.npz", features=features)
        for path in folder.iterdir():
            os.utime(path, (PAST, PAST))

    def make(self, *arguments: str) -> CompletedProcess[str]:
        tool = f"{sys.executable} -m mcu_export"
        environment = {**os.environ, "MAKEFLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = ["make", f"MCU_EXPORT={tool}", *arguments]
        return run(command, self.folder, env=environment)  # type: ignore[return-value]

    def done(self, *arguments: str) -> str:
        """What a run that succeeds has done: E for an export, then what was compiled."""
        result = self.make(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        exported = "E " if " export net.keras " in result.stdout else ""
        steps = [line for line in result.stdout.splitlines() if line[:4] in ("CC m", "LINK")]
        return exported + " ".join(steps)

    def touch(self, name: str) -> None:
        os.utime(self.folder / name)


ALL = "E CC main CC model LINK"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    assert Repository(folder).done() == ALL
    return folder


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Repository:
    """A copy of the repository after its first build; times are kept."""
    shutil.copytree(built, tmp_path / "copy")
    made = Repository.__new__(Repository)
    made.folder, made.out = tmp_path / "copy", tmp_path / "copy" / "build" / "net"
    return made


def test_the_first_run_exports_and_the_second_does_nothing(repository: Repository) -> None:
    assert sorted(p.name for p in repository.out.iterdir()) == [
        "net.c",
        "net.d",
        "net.h",
        "net.json",
        "net.stamp",
        "net.stamp.options",
        "net_reference.npz",
        "net_test.h",
        "net_weights.h",
    ]
    times = {p.name: p.stat().st_mtime_ns for p in repository.out.iterdir()}
    assert repository.done() == ""
    assert repository.done() == ""
    assert {p.name: p.stat().st_mtime_ns for p in repository.out.iterdir()} == times


@pytest.mark.parametrize("name", ["net.keras", "calibration.npz"])
def test_a_source_that_is_touched_exports_and_compiles_nothing(
    name: str, repository: Repository
) -> None:
    repository.touch(name)
    assert repository.done() == "E "
    assert repository.done() == ""


def test_samples_that_change_the_result_compile_again(repository: Repository) -> None:
    features = np.load(KWS / "calibration.npz")["features"][20:30] * 3
    np.savez(repository.folder / "calibration.npz", features=features)
    assert repository.done() == ALL
    assert repository.done() == ""


def test_other_options_export_again(repository: Repository) -> None:
    flags = "MCU_EXPORT_FLAGS=--scheme q15"
    assert repository.done(flags) == ALL
    assert repository.done(flags) == ""
    assert "q15" in (repository.out / "net.json").read_text()
    assert repository.done() == ALL


@pytest.mark.parametrize("name", ["net.c", "net.json"])
def test_an_output_that_was_deleted_comes_back(name: str, repository: Repository) -> None:
    before = (repository.out / name).read_bytes()
    (repository.out / name).unlink()
    assert repository.done().startswith("E ")
    assert (repository.out / name).read_bytes() == before
    assert repository.done() == ""


def test_an_export_that_fails_leaves_no_stamp(repository: Repository) -> None:
    shutil.rmtree(repository.folder / "build")
    model = (repository.folder / "net.keras").read_bytes()
    (repository.folder / "net.keras").write_bytes(model[:1000])
    for _ in range(2):
        result = repository.make()
        assert result.returncode == 2
        assert "Error 3" in result.stderr
        assert "Traceback" not in result.stderr
        assert not (repository.out / "net.stamp").exists()
        assert not (repository.out / "net.c").exists()
    (repository.folder / "net.keras").write_bytes(model)
    assert repository.done().startswith("E ")


def test_an_export_that_fails_is_tried_again_and_keeps_the_files(repository: Repository) -> None:
    before = (repository.out / "net.c").read_bytes()
    model = (repository.folder / "net.keras").read_bytes()
    (repository.folder / "net.keras").write_bytes(b"broken")
    for _ in range(2):
        assert "Error 3" in repository.make().stderr
    assert (repository.out / "net.c").read_bytes() == before
    (repository.folder / "net.keras").write_bytes(model)
    assert repository.done() == "E "


def test_model_check(repository: Repository) -> None:
    assert repository.make("model-check").returncode == 0
    text = (repository.out / "net_weights.h").read_text()
    (repository.out / "net_weights.h").write_text(text + "\n")
    result = repository.make("model-check")
    assert "Error 9" in result.stderr
    assert "net_weights.h" in result.stderr
    assert (repository.out / "net_weights.h").read_text() == text + "\n"


def test_the_depfile_names_what_the_export_depends_on(repository: Repository) -> None:
    rule = (repository.out / "net.d").read_text().split("\n\n")[0]
    target, sources = rule.replace("\\\n", " ").split(":", 1)
    assert target == "build/net/net.stamp"
    assert sources.split()[:2] == ["net.keras", "calibration.npz"]
    assert sources.split()[2].endswith("mcu_export/version.py")


def test_without_samples_the_error_is_the_tools(repository: Repository) -> None:
    result = repository.make("MODEL_SAMPLES=")
    assert "Error 5" in result.stderr
    assert "--samples" in result.stderr
