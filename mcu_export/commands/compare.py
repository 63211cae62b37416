"""``mcu-export compare``: two exports side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, print_table


@click.command("compare")
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER)
@click.option("--samples", default="", metavar="F.npz[:KEY]", help="Also accuracy, on these.")
@click.option("--labels", default="", metavar="F.npz:KEY", help="Class number of each sample.")
@click.option("--name", default="", help="Which export, where a folder holds several.")
@click.option("--old-name", default="", help="Its name in OLD, if it was renamed.")
@common_options
def command(
    old: Path, new: Path, samples: str, labels: str, name: str, old_name: str, as_json: bool
) -> None:
    """Show how the export in folder NEW differs from that in OLD, for a code review.

    Formats and sizes always; accuracy on --samples; instructions, stack and flash with code where
    `mcu-export verify --on qemu` has measured them.
    """
    from mcu_export.comparison import compare_exports  # noqa: PLC0415
    from mcu_export.errors import UsageError  # noqa: PLC0415
    from mcu_export.evaluate import class_count  # noqa: PLC0415
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.report.pictures import short  # noqa: PLC0415
    from mcu_export.samples import load_labels, load_samples  # noqa: PLC0415

    if labels and not samples:
        raise UsageError("labels are of no use without samples", where="--labels")
    before, after = open_export(old, old_name or name), open_export(new, name)
    inputs = truth = None
    if samples:
        inputs = load_samples(samples, after.quant.graph.inputs)
        load_samples(samples, before.quant.graph.inputs)
        count = len(next(iter(inputs.values())))
        truth = load_labels(labels, count, class_count(after.quant.graph)) if labels else None
    result = compare_exports(before, after, inputs, truth)
    if as_json:
        print_json(asdict(result))
        return
    shown = [fact for fact in result.facts if fact.old is not None or fact.new is not None]
    rows = [(f.what, _text(f.old), _text(f.new), "*" if f.changed else "") for f in shown]
    print_table(f"{old} and {new}", ["", "old#", "new#", "changed"], rows)
    layers = [
        (
            short(layer.name, 40) if index == 0 else "",
            layer.kind,
            change.what,
            _text(change.old),
            _text(change.new),
        )
        for layer in result.layers
        for index, change in enumerate(layer.changes)
    ]
    if layers:
        print_table("\nlayers", ["layer", "", "what", "old#", "new#"], layers)
    click.echo("\nthe generated code is the same" if result.same else "")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    text = f"{value:,}" if isinstance(value, int | float) else str(value)
    return text if len(text) <= 48 else text[:16] + "..."
