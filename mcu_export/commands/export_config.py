"""``mcu-export export --config``: all models of a configuration, or some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mcu_export.commands.common import print_json, progress_bar
from mcu_export.errors import UsageError

if TYPE_CHECKING:
    from mcu_export.batch import Outcome

# What may be given beside --config; everything else stands in the configuration.
WITH_CONFIG = ("arguments", "config", "jobs", "check", "depfile", "depfile_target", "as_json")
DEFAULT_CONFIG = "mcu-export.toml"


def refuse_others(context: click.Context) -> None:
    """Raise if an option was given that belongs into the configuration.

    Raises:
        UsageError: names the option.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in WITH_CONFIG and source == ParameterSource.COMMANDLINE:
            raise UsageError(
                "this stands in the configuration, for each model or in [defaults]",
                where=parameter.opts[-1],
                fix="write it there, or export a single model without --config",
            )


def export_config(names: tuple[str, ...], given: dict[str, Any]) -> None:
    """Export the models of a configuration; the first error ends the command, after all ran."""
    from mcu_export.batch import export_all, write_depfile  # noqa: PLC0415
    from mcu_export.config import read_config  # noqa: PLC0415

    file = given["config"]
    if not file.endswith(".toml"):
        # `--config NAME`: what follows is a model, not a file.
        names, file = (file, *names), DEFAULT_CONFIG
    config = read_config(Path(file))
    models = config.select(names)
    done: list[Outcome] = []

    with progress_bar(given["as_json"]) as progress:

        def show(outcome: Outcome) -> None:
            done.append(outcome)
            progress("models", len(done), len(models))

        progress("models", 0, len(models))
        outcomes = export_all(models, given["check"], given["jobs"], show)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    if given["as_json"] and not failed:
        print_json({"models": {outcome.name: outcome.manifest for outcome in outcomes}})
    elif not given["as_json"]:
        for outcome in outcomes:
            _print_outcome(outcome, given["check"])
    for error in failed[1:]:
        click.echo(f"mcu-export: {error.title}: {error}", err=True)
    if failed:
        raise failed[0]
    if given["depfile"]:
        write_depfile(given["depfile"], given["depfile_target"], config, models)


def _print_outcome(outcome: Outcome, check: bool) -> None:
    if outcome.error:
        click.echo(f"{outcome.name}: failed")
        return
    said = "up to date" if check or not outcome.changed else f"{len(outcome.changed)} files written"
    click.echo(f"{outcome.name}: {said} in {outcome.folder}; {costs_text(outcome.manifest)}")


def costs_text(manifest: Any) -> str:
    """RAM, flash and work of an export in one line."""
    memory = manifest["memory"]
    above = memory["arena"] - memory["arena_lower_bound"]
    plan = f"at most {above:,} above the least possible" if above else "the least possible"
    return (
        f"RAM {memory['ram']:,} bytes (arena with scratch, input and output; {plan}), "
        f"flash {memory['weights']:,} bytes of constants, {manifest['macs']:,} MACs"
    )
