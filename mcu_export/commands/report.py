"""``mcu-export report``: everything about an export as a page, as tables, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcu_export.commands.common import (
    FOLDER,
    common_options,
    print_json,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from mcu_export.report.content import Report


@click.command("report")
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, help="The HTML page to write; else tables.")
@click.option(
    "--samples", default="", metavar="F.npz[:KEY]", help="Typical inputs; default: the self-test's."
)
@click.option("--labels", default="", metavar="F.npz:KEY", help="Class number of each sample.")
@click.option("--name", default="", help="Which export, where the folder holds several.")
@common_options
def command(
    folder: Path, output: Path | None, samples: str, labels: str, name: str, as_json: bool
) -> None:
    """Report on the export in FOLDER: formats, noise, costs, memory, accuracy, what would help.

    With -o one HTML page that needs nothing else: no network, no script. Instructions are in it
    where `mcu-export verify FOLDER --on qemu` has measured them.
    """
    from mcu_export.errors import UsageError  # noqa: PLC0415
    from mcu_export.evaluate import class_count  # noqa: PLC0415
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.report.content import make_report, report_json  # noqa: PLC0415
    from mcu_export.report.page import page  # noqa: PLC0415
    from mcu_export.samples import load_labels, load_samples  # noqa: PLC0415
    from mcu_export.write import write_files  # noqa: PLC0415

    if labels and not samples:
        raise UsageError("labels are of no use without samples", where="--labels")
    exported = open_export(folder, name)
    inputs = load_samples(samples, exported.quant.graph.inputs) if samples else None
    truth = None
    if inputs and labels:
        count = len(next(iter(inputs.values())))
        truth = load_labels(labels, count, class_count(exported.quant.graph))
    with progress_bar(as_json) as progress:
        report = make_report(exported, inputs, truth, progress)
    if output:
        write_files(output.parent, {output.name: page(report).encode()})
    if as_json:
        print_json(report_json(report))
    elif output:
        click.echo(f"written: {output}")
    else:
        _print(report)


def _print(report: Report) -> None:
    from mcu_export.report.page import page_view  # noqa: PLC0415

    view = page_view(report)
    for tile in view.tiles:
        click.echo(f"{tile.value:>14} {tile.unit:<6} {tile.text}")
    columns = [
        "layer",
        "op",
        "bits",
        "format",
        "weights",
        "MACs#",
        "bytes#",
        "instructions#",
        "per MAC#",
    ]
    columns += ["SNR dB#", "own SNR dB#", "saturated#"]
    rows = [
        (
            row.name,
            row.op,
            row.bits,
            row.format,
            row.weights_format,
            row.macs,
            row.bytes,
            row.instructions,
            row.per_mac,
            row.sqnr,
            row.own_sqnr,
            row.saturated,
        )
        for row in view.layers
    ]
    print_table(f"\n{view.name}: {view.about}", columns, rows)
    click.echo("")
    for one in report.advice:
        click.echo(f"{one.about}: {one.finding}; {one.action}")
