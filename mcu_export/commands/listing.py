"""``mcu-export list``: what this version knows."""

from __future__ import annotations

import click

from mcu_export.commands.common import common_options, print_json, print_table


@click.command("list")
@click.argument("what", type=click.Choice(["ops", "schemes", "backends", "boards"]))
@common_options
def command(what: str, as_json: bool) -> None:
    """List the ops with the backends that run them, the schemes, the backends or the boards."""
    from mcu_export.support import TABLES  # noqa: PLC0415

    columns, rows = TABLES[what]()
    if as_json:
        print_json({what: [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table("", columns, rows)
