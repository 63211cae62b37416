"""What all commands share: options, output as tables or JSON, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path)


def common_options(function: F) -> F:
    """``--json`` (passed on as ``as_json``) and ``--debug`` (seen by the entry point)."""
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, help="Show a traceback with an error."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    return debug(as_json(function))


def offered(option: str) -> Callable[..., list[str]]:
    """What the shell offers as the value of an option: the words that it takes."""

    def complete(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
        from mcu_export.support import CHOICES  # noqa: PLC0415 -- numpy

        return [word for word in CHOICES[option]() if word.startswith(typed)]

    return complete


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(content, indent=2))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; columns whose name ends with ``#`` hold numbers and are aligned right.

    On a terminal it takes the terminal's width, into a file or a pipe as much as it needs.
    """
    from rich.console import Console  # noqa: PLC0415 -- costs 50 ms that --help does not have
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        number = column.endswith("#")
        table.add_column(column.rstrip("#"), justify="right" if number else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function (stage, done, total) that shows progress on standard error, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done)

        yield show
