"""Writing: every file whole, all of them or none, only what changed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcu_export import folder_lock
from mcu_export.write import WriteError, Written, depfile_text, out_of_date, write_files
from tests.helpers import run

OLD = {"a.c": b"old a", "b.h": b"old b", "m.json": b"old m"}
NEW = {"a.c": b"new a", "b.h": b"new b, longer", "c.h": b"new c", "m.json": b"new m"}
PAST = 1_000_000_000


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an earlier export, its times in the past, and a file of somebody else."""
    made = tmp_path / "out"
    write_files(made, OLD)
    (made / "notes.txt").write_text("mine")
    for path in made.iterdir():
        os.utime(path, (PAST, PAST))
    return made


def test_a_new_folder(tmp_path: Path) -> None:
    made = tmp_path / "some" / "where"
    assert write_files(made, NEW, "m.json") == Written(tuple(NEW), ())
    assert content(made) == NEW


def test_only_what_differs_is_written(folder: Path) -> None:
    files = {**OLD, "b.h": b"changed"}
    assert write_files(folder, files) == Written(("b.h",), ("a.c", "m.json"))
    assert content(folder) == {**files, "notes.txt": b"mine"}
    times = {path.name: path.stat().st_mtime for path in folder.iterdir()}
    assert times.pop("b.h") > PAST
    assert set(times.values()) == {PAST}


def test_nothing_to_write_touches_nothing(folder: Path) -> None:
    before = folder.stat().st_mtime_ns
    assert write_files(folder, OLD) == Written((), tuple(OLD))
    assert {path.stat().st_mtime for path in folder.iterdir()} == {PAST}
    assert folder.stat().st_mtime_ns == before


def test_what_is_out_of_date(folder: Path, tmp_path: Path) -> None:
    assert out_of_date(folder, OLD) == ()
    assert out_of_date(folder, NEW) == ("a.c", "b.h", "c.h", "m.json")
    assert out_of_date(tmp_path / "none", OLD) == tuple(OLD)
    (folder / "a.c").unlink()
    (folder / "a.c").mkdir()
    assert out_of_date(folder, OLD) == ("a.c",)


def test_the_last_file_appears_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    write_files(folder, {"m.json": b"1", "x.c": b"2", "y.h": b"3"}, "m.json")
    assert order == ["y.h", "x.c", "m.json"]


class Stopped(BaseException):
    """As a KeyboardInterrupt: no `except Exception` sees it."""


POINTS = [(Path, "open"), (os, "fsync"), (Path, "replace"), (Path, "read_bytes")]


def fail_at(
    monkeypatch: pytest.MonkeyPatch,
    point: tuple[Any, str],
    call: int,
    error: BaseException,
    late: bool,
) -> list[int]:
    """The ``call``-th call of a function raises, before or after it has done its work."""
    owner, name = point
    original: Callable[..., Any] = getattr(owner, name)
    calls = [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not late:
            raise error
        this = calls[0]
        try:
            return original(*args, **kwargs)
        finally:
            if this == call:
                raise error

    monkeypatch.setattr(owner, name, wrapped)
    return calls


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), Stopped()], ids=["full", "stopped"]
)
@pytest.mark.parametrize("point", POINTS, ids=lambda p: p[1])
def test_a_failure_at_any_point_leaves_the_folder_as_it_was(
    point: tuple[Any, str],
    error: BaseException,
    late: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = content(folder)
    failures = 0
    for call in range(1, 30):
        with monkeypatch.context() as patch:
            calls = fail_at(patch, point, call, error, late)
            try:
                write_files(folder, NEW, "m.json")
                raised: BaseException | None = None
            except (WriteError, Stopped) as caught:
                raised = caught
        if raised is None:
            assert content(folder) == {**NEW, "notes.txt": b"mine"}
            break
        failures += 1
        assert content(folder) == before, f"call {call} of {point[1]}"
        assert {path.stat().st_mtime for path in folder.iterdir()} == {PAST}
        if isinstance(error, OSError):
            assert isinstance(raised, WriteError)
            assert "No space left" in raised.what
    assert calls[0] < call, "the last call did not fail"
    assert failures >= 4


def test_what_is_undone_keeps_its_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else make would compile everything again after a full disk."""
    fail_at(monkeypatch, (Path, "replace"), 3, OSError(errno.EIO, "I/O error"), late=False)
    with pytest.raises(WriteError):
        write_files(folder, NEW)
    assert {path.stat().st_mtime for path in folder.iterdir()} == {PAST}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written(
    number: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: root may write anywhere."""
    text = os.strerror(number)
    before = content(folder)
    open_ = Path.open

    def refuse(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "w" in mode:
            raise OSError(number, text, str(self))
        return open_(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WriteError, match=text) as caught:
        write_files(folder, NEW)
    assert caught.value.exit_code == 1
    assert str(folder) in caught.value.where
    assert "permissions" in caught.value.fix
    assert content(folder) == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WriteError):
            write_files(target, NEW)
    assert content(tmp_path) == {"file": b"not a folder"}


def test_a_folder_in_the_place_of_a_file(folder: Path) -> None:
    (folder / "a.c").unlink()
    (folder / "a.c").mkdir()
    with pytest.raises(WriteError) as caught:
        write_files(folder, NEW)
    assert "a.c" in caught.value.where
    assert sorted(p.name for p in folder.iterdir()) == ["a.c", "b.h", "m.json", "notes.txt"]
    assert (folder / "b.h").read_bytes() == OLD["b.h"]


WRITER = """
import sys
from pathlib import Path
from mcu_export import folder_lock
from mcu_export.write import write_files
mark, size = int(sys.argv[2]), int(sys.argv[3])
files = {f"{i}.{'c' if i == 0 else 'h'}": bytes([mark]) * size for i in range(6)}
for _ in range(int(sys.argv[4])):
    write_files(Path(sys.argv[1]), files)
"""


def writer(folder: Path, mark: int, times: int, preload: str = "") -> subprocess.Popen[bytes]:
    """A process that writes six files of ``mark`` bytes."""
    command = [sys.executable, "-c", preload + WRITER, str(folder), str(mark)]
    return subprocess.Popen([*command, str(100_000 + mark), str(times)])


def test_processes_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    """All files are of one and the same writer; nothing temporary stays."""
    processes = [writer(tmp_path, mark, 10) for mark in (1, 2, 3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(set(content(tmp_path).values())) == 1
    assert len(content(tmp_path)) == 6


@pytest.mark.parametrize(
    ("call", "count"),
    [("fsync", 1), ("fsync", 6), ("replace", 1), ("replace", 3), ("replace", 6), ("unlink", 3)],
)
def test_killed_at_any_point(tmp_path: Path, call: str, count: int) -> None:
    """No file is half-written, make would export again, and the next export is whole."""
    assert writer(tmp_path, 1, 1).wait() == 0
    owner = "os" if call == "fsync" else "pathlib.Path"
    preload = f"""
import os, pathlib, signal
before, left = {owner}.{call}, [{count}]
def kill(*arguments, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*arguments, **options)
{owner}.{call} = kill
"""
    assert writer(tmp_path, 2, 1, preload).wait() == -signal.SIGKILL
    found = {name: data for name, data in content(tmp_path).items() if name[0] != "."}
    whole = {mark: bytes([mark]) * (100_000 + mark) for mark in (1, 2)}
    assert set(found.values()) <= set(whole.values())
    if found["0.c"] == whole[2]:
        assert set(found.values()) == {whole[2]}
    assert writer(tmp_path, 3, 1).wait() == 0
    assert len(content(tmp_path)) == 6
    assert set(content(tmp_path).values()) == {bytes([3]) * 100_003}


def test_a_writer_waits_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that stays makes an error; one that is killed holds nothing."""
    monkeypatch.setattr(folder_lock, "WAIT_SECONDS", 0.2)
    hold = "import fcntl, os, sys, time\nfcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX)\n"
    hold += "print('held', flush=True)\ntime.sleep(600)\n"
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WriteError, match="another mcu-export has been writing"):
            write_files(tmp_path, OLD)
        assert content(tmp_path) == {}
        holder.kill()
        holder.wait()
    write_files(tmp_path, OLD)
    assert content(tmp_path) == OLD


def test_a_full_disk(tmp_path: Path) -> None:
    """The system refuses the third file in its middle: the folder stays as it was."""
    assert writer(tmp_path, 1, 1).wait() == 0
    limit = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    )
    assert writer(tmp_path, 2, 1, limit).wait() == 1
    assert len(content(tmp_path)) == 6
    assert set(content(tmp_path).values()) == {bytes([1]) * 100_001}


def test_the_depfile_is_read_by_make(tmp_path: Path) -> None:
    """Blanks, number signs, dollars and percent signs in paths are what they are."""
    sources = [tmp_path / name for name in ("plain", "a b", "c#d", "e$f", "g%h", "i:j")]
    for path in sources:
        path.write_text("")
    (tmp_path / "out.d").write_bytes(depfile_text("out file.c", [str(p) for p in sources]))
    (tmp_path / "Makefile").write_text(
        "include out.d\nout\\ file.c:\n\t@for f in $^; do echo \"$$f\"; done; touch 'out file.c'\n"
    )
    assert run(["make", "out file.c"], tmp_path).returncode == 0
    assert "up to date" in run(["make", "out file.c"], tmp_path).stdout
    for path in sources:
        os.utime(path, (4e9, 4e9))
        assert "up to date" not in run(["make", "-n", "out file.c"], tmp_path).stdout, path.name
        os.utime(path, (PAST, PAST))
    sources[0].unlink()
    done = run(["make", "out file.c"], tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), "a source that is gone is made anew"
