"""``mcu-export makefile``: where the fragments for builds are."""

from __future__ import annotations

import click

from mcu_export.commands.common import common_options, print_json


@click.command("makefile")
@click.option("--cmake", is_flag=True, help="The folder of the CMake package instead.")
@common_options
def command(cmake: bool, as_json: bool) -> None:
    """Print the path of the fragment that exports a model before a firmware builds.

    In your Makefile: include $(shell mcu-export makefile). With CMake:
    -Dmcu-export_DIR=$(mcu-export makefile --cmake), then find_package(mcu-export).
    """
    from mcu_export.resources import resource_dir  # noqa: PLC0415

    path = str(resource_dir("firmware") / ("cmake" if cmake else "mcu-export.mk"))
    if as_json:
        print_json({"cmake" if cmake else "makefile": path})
    else:
        click.echo(path)
