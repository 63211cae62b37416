"""The command line: ``mcu-export COMMAND``. Parses, calls the pipeline, prints; no arithmetic.

Commands are imported when they are called, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from mcu_export.errors import InternalError, McuExportError
from mcu_export.version import __version__

# name -> module in mcu_export.commands, line for --help
COMMANDS = {
    "export": ("export", "Write the C that runs a trained network."),
    "init": ("init", "Put a configuration, a Makefile and an example into a repository."),
    "inspect": ("inspect", "Show layers, shapes, MACs and parameters of a model file."),
    "run": ("run", "Run the bit-exact reference of an export on samples."),
    "verify": ("verify", "Compile and run an export, compare every byte with the reference."),
    "evaluate": ("evaluate", "Measure accuracy and agreement with the float network."),
    "sensitivity": ("sensitivity", "Show what each layer's rounding alone costs, worst first."),
    "report": ("report", "Report on an export: one HTML page, or tables."),
    "compare": ("compare", "Show how two exports differ: formats, sizes, accuracy, costs."),
    "finetune": ("finetune", "Train a network in the integers of its export (TensorFlow)."),
    "fold": ("fold", "Fold batch norms in the model file itself: checkpoint, .pb, Keras."),
    "list": ("listing", "List ops, schemes, backends, boards or the models of a configuration."),
    "makefile": ("makefile", "Print the path of the Makefile fragment to include."),
}


class LazyGroup(click.Group):
    """A group whose commands are modules, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mcu_export.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mcu-export")
def cli() -> None:
    """From a trained network to C for a Cortex-M: folded, quantized, bit-exact.

    Each command has its own --help; --json prints one JSON object, --debug shows tracebacks.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with the exit code of what happened."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        cli.main(given, prog_name="mcu-export", standalone_mode=False)
        code = 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except click.UsageError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, as in `mcu-export ... | head`.
        code = 1
    except McuExportError as error:
        code = _report(error, given)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        fix = "this is a bug of mcu-export; run again with --debug and report what it prints"
        code = _report(InternalError(what, fix=fix), given, error)
    sys.exit(code)


def _report(error: McuExportError, given: list[str], cause: Exception | None = None) -> int:
    """Print an error for a human or, with --json, for a script."""
    if "--debug" in given:
        traceback.print_exception(cause or error)
    if "--json" in given:
        click.echo(json.dumps(_as_json(error)))
    click.echo(f"mcu-export: {error.title}: {error}", err=True)
    return error.exit_code


def _as_json(error: McuExportError) -> dict[str, Any]:
    return {
        "error": error.title,
        "what": error.what,
        "where": error.where,
        "fix": error.fix,
        "exit_code": error.exit_code,
    }
