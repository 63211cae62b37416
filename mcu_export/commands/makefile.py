"""``mcu-export makefile``: where the Makefile fragment is."""

from __future__ import annotations

import click

from mcu_export.commands.common import common_options, print_json


@click.command("makefile")
@common_options
def command(as_json: bool) -> None:
    """Print the path of the fragment that exports a model before a firmware builds.

    In your Makefile: include $(shell mcu-export makefile)
    """
    from mcu_export.resources import resource_dir  # noqa: PLC0415

    path = str(resource_dir("firmware") / "mcu-export.mk")
    if as_json:
        print_json({"makefile": path})
    else:
        click.echo(path)
