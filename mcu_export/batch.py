"""Exporting all models of a configuration in parallel."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcu_export.api import VERSION_FILE, export_files
from mcu_export.config import Config, ModelConfig, located
from mcu_export.errors import InternalError, McuExportError
from mcu_export.options import Options
from mcu_export.render import own_templates
from mcu_export.write import depfile_text, write_files

WORKERS = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one model; ``error`` is None where all went well."""

    name: str
    folder: Path
    changed: tuple[str, ...]
    manifest: Mapping[str, Any]
    error: McuExportError | None = None


def export_all(
    models: Sequence[ModelConfig],
    check_only: bool = False,
    workers: int = WORKERS,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Outcome, ...]:
    """Export every model, each in a process of its own; one that fails does not stop the others.

    Args:
        models: what to export.
        check_only: write nothing, see whether files would change.
        workers: processes at once.
        progress: called with each outcome as it comes in.

    Returns:
        The outcomes in the order of ``models``.
    """
    if len(models) == 1 or workers == 1:
        outcomes = {}
        for model in models:
            outcomes[model.name] = _export_one(model, check_only)
            progress(outcomes[model.name])
    else:
        outcomes = _in_processes(models, check_only, workers, progress)
    return tuple(outcomes[model.name] for model in models)


def _in_processes(
    models: Sequence[ModelConfig],
    check_only: bool,
    workers: int,
    progress: Callable[[Outcome], None],
) -> dict[str, Outcome]:
    # Forking a process that has threads (numpy's) may hang; a new interpreter never does.
    context = multiprocessing.get_context("spawn")
    outcomes: dict[str, Outcome] = {}
    with ProcessPoolExecutor(min(workers, len(models)), context) as pool:
        waiting: dict[Future[Outcome], ModelConfig] = {
            pool.submit(_export_one, model, check_only): model for model in models
        }
        for future in as_completed(waiting):
            model = waiting[future]
            try:
                outcome = future.result()
            except BrokenProcessPool:
                error = InternalError(
                    "the process was killed", where=model.place, fix="is there enough memory?"
                )
                outcome = Outcome(model.name, model.folder, (), {}, error)
            outcomes[model.name] = outcome
            progress(outcome)
    return outcomes


def _export_one(model: ModelConfig, check_only: bool) -> Outcome:
    try:
        made, written = export_files(
            model.sources, model.folder, model.options, check_only=check_only
        )
    except McuExportError as error:
        return Outcome(model.name, model.folder, (), {}, located(error, model.place))
    return Outcome(model.name, model.folder, written.changed, dict(made.manifest))


def write_depfile(path: Path, target: str, config: Config, models: Sequence[ModelConfig]) -> None:
    """A depfile that lists the configuration and the sources of all ``models``.

    Args:
        path: the depfile.
        target: what make builds; empty: the C file of the first model.
        config, models: what was exported.

    Raises:
        WriteError: it cannot be written.
    """
    listed = [str(config.path)]
    for model in models:
        listed += map(str, own_templates(model.options.get("templates", "")))
        listed += model.sources.paths()
        listed += Options(**model.options).label_files
    unique = [source for source in dict.fromkeys(listed) if source != str(VERSION_FILE)]
    target = target or models[0].source
    text = depfile_text(target, [*unique, str(VERSION_FILE)])
    write_files(path.parent, {path.name: text})
