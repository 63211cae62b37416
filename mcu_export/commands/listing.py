"""``mcu-export list``: what this version knows, and what a configuration holds."""

from __future__ import annotations

from pathlib import Path

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, print_table
from mcu_export.commands.export_config import DEFAULT_CONFIG


@click.command("list")
@click.argument(
    "what", type=click.Choice(["ops", "schemes", "backends", "boards", "emit", "models"])
)
@click.option(
    "--config", type=FOLDER, default=DEFAULT_CONFIG, help=f"For models; default: {DEFAULT_CONFIG}."
)
@click.option("--make", "as_make", is_flag=True, help="Models as variables of make.")
@common_options
def command(what: str, config: Path, as_make: bool, as_json: bool) -> None:
    """List the ops with the backends that run them, the schemes, the backends, the boards.

    `list emit` shows what --emit takes, `list models` the models of a configuration.
    """
    if what == "models":
        _models(config, as_make, as_json)
        return
    from mcu_export.support import TABLES  # noqa: PLC0415

    columns, rows = TABLES[what]()
    if as_json:
        print_json({what: [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table("", columns, rows)


def _models(path: Path, as_make: bool, as_json: bool) -> None:
    from mcu_export.config import read_config  # noqa: PLC0415
    from mcu_export.render import render_template  # noqa: PLC0415

    config = read_config(path)
    if as_make:
        click.echo(render_template("models.mk.j2", v=config), nl=False)
        return
    columns = ["name", "model", "output", "options"]
    rows = [
        (
            model.name,
            str(model.sources.model),
            str(model.folder),
            " ".join(f"{key}={value}" for key, value in model.options.items() if key != "name"),
        )
        for model in config.models
    ]
    if as_json:
        print_json({"models": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table(str(path), columns, rows)
