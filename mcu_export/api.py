"""The Python interface: ``mcu_export.loaders`` and ``mcu_export.export``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcu_export.budgets import check_compiled
from mcu_export.errors import ModelFileError, OutOfDateError, UsageError
from mcu_export.loaders import model_files
from mcu_export.options import Options
from mcu_export.pipeline import Export, Progress, make_export, silent
from mcu_export.render import own_templates
from mcu_export.samples import parse_source
from mcu_export.version import __version__
from mcu_export.write import Written, depfile_text, out_of_date, write_files

VERSION_FILE = Path(__file__).with_name("version.py")


@dataclass(frozen=True)
class Sources:
    """The files that an export is made from."""

    model: Path
    samples: str = ""
    test_samples: str = ""
    labels_file: Path | None = None

    def paths(self) -> list[str]:
        """All of them, and one that changes with the version of mcu-export."""
        listed = model_files(self.model)
        listed += [parse_source(text).path for text in (self.samples, self.test_samples) if text]
        listed += [self.labels_file] if self.labels_file else []
        return [str(path) for path in (*dict.fromkeys(listed), VERSION_FILE)]


def export(
    model: str | Path,
    folder: str | Path,
    *,
    samples: str | Path = "",
    test_samples: str | Path = "",
    labels: tuple[str, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    """Export a network to C, as ``mcu-export export`` does.

    Args:
        model: the model file.
        folder: where to write; made if it does not exist.
        samples: calibration samples, ``FILE.npz[:KEY]``.
        test_samples: samples of the self-test; default: ``samples``.
        labels: one text per output element.
        options: fields of :class:`mcu_export.options.Options`: ``scheme``, ``backend``, ...

    Returns:
        The manifest.

    Raises:
        McuExportError: what is wrong, where, and what to do.
    """
    sources = Sources(Path(model), str(samples), str(test_samples))
    made, _ = export_files(sources, Path(folder), {**options, "labels": labels})
    return dict(made.manifest)


def export_files(
    sources: Sources,
    folder: Path,
    options: Mapping[str, Any],
    *,
    depfile: tuple[Path, str] | None = None,
    check_only: bool = False,
    dump_folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[Export, Written]:
    """Run the stages and write the files, or check that nothing would change.

    Raises:
        OutOfDateError: with ``check_only``, files are missing or differ.
        McuExportError: any stage's own error; then nothing was written.
    """
    unknown = set(options) - set(Options.__dataclass_fields__)
    if unknown:
        raise UsageError(f"there is no option {sorted(unknown)[0]!r}")
    given = dict(options)
    if sources.labels_file:
        given["labels"] = read_labels(sources.labels_file)
    made = make_export(
        sources.model, sources.samples, Options(**given), sources.test_samples, progress
    )
    manifest_name = f"{made.program.name}.json"
    if dump_folder:
        write_files(dump_folder, {f"{k}.txt": v.encode() for k, v in made.dumps.items()})
    if check_only:
        stale = out_of_date(folder, made.files)
        if stale:
            raise OutOfDateError(
                f"an export would change {', '.join(stale)}",
                where=str(folder),
                fix=f"run the export without --check, with mcu-export {__version__}",
            )
        return made, Written((), tuple(made.files))
    check_compiled(
        made.files, made.program.name, bool(made.program.includes), Options(**given).budgets
    )
    written = write_files(folder, made.files, last=manifest_name)
    if depfile:
        path, target = depfile
        listed = [*map(str, own_templates(given.get("templates", ""))), *sources.paths()]
        listed += Options(**given).label_files
        text = depfile_text(target or str(folder / f"{made.program.name}.c"), listed)
        write_files(path.parent, {path.name: text})
    return made, written


def read_labels(path: Path) -> tuple[str, ...]:
    """One label per line of a UTF-8 text file.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"cannot read the labels: {error}", where=str(path)) from error
    return tuple(line.strip() for line in lines if line.strip())
