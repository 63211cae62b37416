"""``mcu-export init``: a start in an embedded repository."""

from __future__ import annotations

from pathlib import Path

import click

from mcu_export.commands.common import FOLDER, common_options, print_json


@click.command("init")
@click.argument("models", metavar="[MODEL...]", type=FOLDER, nargs=-1)
@click.option("-C", "--folder", type=FOLDER, default=".", help="The repository; default: here.")
@click.option("--samples", default="", metavar="F.npz[:KEY]", help="Calibration samples of all.")
@common_options
def command(models: tuple[Path, ...], folder: Path, samples: str, as_json: bool) -> None:
    """Put a configuration, a Makefile and an example main into a repository.

    MODELs are its networks; without any, those that lie in it. A file that is there is never
    changed: where there is a Makefile, the lines to paste are printed.
    """
    from mcu_export.starter import start  # noqa: PLC0415

    started = start(folder, models, samples)
    if as_json:
        print_json(vars(started))
        return
    for name in started.written:
        click.echo(f"written  {folder / name}")
    for name in started.kept:
        click.echo(f"kept     {folder / name}, which was there")
    if started.paste:
        click.echo(f"\nYour Makefile was not changed; add to it:\n\n{started.paste}")
