"""``mcu-export evaluate``: accuracy and agreement, with gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from mcu_export.commands.common import (
    FOLDER,
    common_options,
    print_json,
    print_table,
    progress_bar,
)

GATE_FIX = "use more or more typical calibration samples, or --scheme q15"


def _gate(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """A gate, unless it is NaN, which nothing is below."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("not a number", context, option)
    return value


@click.command("evaluate")
@click.argument("folder", type=FOLDER)
@click.option("--samples", required=True, metavar="F.npz[:KEY]", help="What to run it on.")
@click.option("--labels", default="", metavar="F.npz:KEY", help="Class number of each sample.")
@click.option(
    "--min-accuracy", type=float, callback=_gate, help="Fail (code 7) below this share, as .85."
)
@click.option(
    "--max-drop",
    type=float,
    callback=_gate,
    help="Fail (code 7) if more points are lost to integers.",
)
@click.option("--classes", is_flag=True, help="Also show every class and the confusion matrix.")
@click.option("--name", default="", help="Which export, where the folder holds several.")
@common_options
def command(
    folder: Path,
    samples: str,
    labels: str,
    min_accuracy: float | None,
    max_drop: float | None,
    classes: bool,
    name: str,
    as_json: bool,
) -> None:
    """Compare the export in FOLDER with the float network, and with labels.

    Signal to quantization noise (sqnr_db) is that of the first output.
    """
    from mcu_export.errors import UsageError, VerificationError  # noqa: PLC0415
    from mcu_export.evaluate import class_count, evaluate  # noqa: PLC0415
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.samples import load_labels, load_samples  # noqa: PLC0415

    if not labels and (classes or min_accuracy is not None or max_drop is not None):
        raise UsageError("accuracy needs labels", where="--labels", fix="give --labels F.npz:KEY")
    exported = open_export(folder, name)
    inputs = load_samples(samples, exported.quant.graph.inputs)
    total = len(next(iter(inputs.values())))
    truth = load_labels(labels, total, class_count(exported.quant.graph)) if labels else None
    with progress_bar(as_json) as progress:
        result = evaluate(exported.quant, inputs, truth, lambda n: progress("evaluate", n, total))
    if as_json:
        print_json(asdict(result))
    else:
        click.echo(f"{result.samples} samples")
        if result.accuracy is not None and result.float_accuracy is not None:
            click.echo(f"accuracy   {result.accuracy:.4f} (float {result.float_accuracy:.4f})")
        click.echo(f"agreement  {result.agreement:.4f} of the answers are those of float")
        if result.sqnr_db is not None:
            click.echo(f"SQNR       {result.sqnr_db:.1f} dB")
        if classes and result.confusion:
            _print_classes(result.confusion, exported.manifest["labels"])
    if min_accuracy is not None and (result.accuracy or 0.0) < min_accuracy:
        raise VerificationError(
            f"accuracy {result.accuracy:.4f} is below {min_accuracy}",
            where="--min-accuracy",
            fix="accuracy is a share of 1, not percent" if min_accuracy > 1 else GATE_FIX,
        )
    if max_drop is not None and (result.drop or 0.0) > max_drop:
        raise VerificationError(
            f"{result.drop:.2f} points of accuracy are lost, {max_drop} are allowed",
            where="--max-drop",
            fix=GATE_FIX,
        )


def _print_classes(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """A row per true class: how many there are, how many are found, what they are taken for."""
    names = [labels[i] if i < len(labels) else str(i) for i in range(len(confusion))]
    rows = [
        (name, sum(row), f"{100 * row[i] / sum(row):.1f} %" if sum(row) else "", *row)
        for i, (name, row) in enumerate(zip(names, confusion, strict=True))
    ]
    columns = ["class", "samples#", "right#", *(f"{name}#" for name in names)]
    print_table("\nanswers by true class", columns, rows)
