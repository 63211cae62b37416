"""Writing an export: every file complete, all files or none, only what changed."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcu_export.errors import McuExportError
from mcu_export.folder_lock import locked

TOKEN_BYTES = 4
TOKEN = "[0-9a-f]" * 2 * TOKEN_BYTES


class WriteError(McuExportError):
    """The output cannot be written; what was there before still is."""

    title = "cannot write"


@dataclass(frozen=True)
class Written:
    """File names by what happened to them."""

    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class _Renamed:
    """A file that is about to be renamed over its target, and what the target was before."""

    target: Path
    temporary: Path
    before: bytes | None
    time: int


def out_of_date(folder: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Names of the files that are missing in ``folder`` or differ, in order."""
    return tuple(name for name, content in files.items() if _read(folder / name) != content)


def write_files(folder: Path, files: Mapping[str, bytes], last: str = "") -> Written:
    """Write what differs; either all of it appears or the folder stays as it was.

    Everything is written beside its target first, and flushed; then it is renamed over it. If a
    rename fails, the earlier ones are undone. Other writers wait until this one is done.

    C files, which make asks about, come after their headers, and the file ``last`` at the end: of
    a process that is killed between two renames make finds an old C file, and exports again. What
    such a process left beside the targets is removed by the next one.

    Raises:
        WriteError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _remove_leftovers(folder, files)
            changed = out_of_date(folder, files)
            order = sorted(changed, key=lambda name: (name == last, name.endswith(".c")))
            _replace_all(folder, {name: files[name] for name in order})
    except OSError as error:
        raise WriteError(
            f"{error.strerror or error}",
            where=str(error.filename2 or error.filename or folder),
            fix="check the path, the permissions and the space; no file was changed",
        ) from error
    return Written(changed, tuple(name for name in files if name not in changed))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _remove_leftovers(folder: Path, files: Mapping[str, bytes]) -> None:
    """Temporary files of a writer that was killed; no other one is at work now."""
    for name in files:
        target = folder / name
        for path in target.parent.glob(f".{glob.escape(target.name)}.{TOKEN}.tmp"):
            path.unlink(missing_ok=True)


def _replace_all(folder: Path, files: Mapping[str, bytes]) -> None:
    staged: dict[Path, Path] = {}
    undo: list[_Renamed] = []
    token = secrets.token_hex(TOKEN_BYTES)
    try:
        for name, content in files.items():
            target = folder / name
            temporary = target.with_name(f".{target.name}.{token}.tmp")
            target.parent.mkdir(parents=True, exist_ok=True)
            staged[target] = temporary
            _write_flushed(temporary, content)
        for target, temporary in staged.items():
            content_before = _read(target)
            time = target.stat().st_mtime_ns if content_before is not None else 0
            undo.append(_Renamed(target, temporary, content_before, time))
            temporary.replace(target)
    except BaseException:
        _undo(undo)
        raise
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _undo(done: list[_Renamed]) -> None:
    """What was there before, with its time: else make would compile it again."""
    for one in reversed(done):
        if one.temporary.exists():
            continue  # it was not renamed
        if one.before is None:
            one.target.unlink(missing_ok=True)
        else:
            one.target.write_bytes(one.before)
            os.utime(one.target, ns=(one.time, one.time))


def depfile_text(target: str, sources: list[str]) -> bytes:
    """A make rule that says what ``target`` was made from; a phony rule for each source.

    With the phony rules, a source that is gone leads to a new export, not to an error of make.
    """
    escaped = [_escape(source) for source in sources]
    lines = [f"{_escape(target)}: " + " \\\n  ".join(escaped), ""]
    lines += [f"{source}:\n" for source in escaped]
    return "\n".join(lines).encode()


def _escape(path: str) -> str:
    """A path as make reads it."""
    text = path.replace("$", "$$")
    for char in " #:":
        text = text.replace(char, "\\" + char)
    return text
