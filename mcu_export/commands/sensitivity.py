"""``mcu-export sensitivity``: what each layer's rounding alone costs at the output."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mcu_export.commands.common import (
    FOLDER,
    common_options,
    print_json,
    print_table,
    progress_bar,
)


@click.command("sensitivity")
@click.argument("model", metavar="MODEL | DIR", type=FOLDER)
@click.option("--samples", required=True, metavar="F.npz[:KEY]", help="Typical inputs.")
@click.option("--scheme", default="", help="Of a MODEL; see `mcu-export list schemes`.")
@click.option("--calibration", default="", help="Of a MODEL; see `mcu-export export --help`.")
@click.option("--bn-epsilon", type=float, help="Of a MODEL: epsilon of every batch norm.")
@click.option("--name", default="", help="Of a DIR: which export, where it holds several.")
@common_options
def command(
    model: Path,
    samples: str,
    scheme: str,
    calibration: str,
    bn_epsilon: float | None,
    name: str,
    as_json: bool,
) -> None:
    """Quantize one layer at a time, the others in float: which one costs most at the output?

    DIR is what `mcu-export export` wrote; a MODEL file is quantized first, and nothing is written.
    The worst layer comes first: it is the one to give 16 bits, or to train again.
    """
    from mcu_export.sensitivity import sensitivity  # noqa: PLC0415

    with progress_bar(as_json) as progress:
        if _is_export(model):
            quant, inputs = _exported(model, samples, name)
        else:
            from mcu_export.options import Options  # noqa: PLC0415
            from mcu_export.pipeline import quantize_model  # noqa: PLC0415

            options = Options(scheme=scheme, calibration=calibration, bn_epsilon=bn_epsilon)
            quant, inputs = quantize_model(model, samples, options, progress)
        total = len(next(iter(inputs.values())))
        found = sensitivity(quant, inputs, lambda n: progress("layers", n, total))
    if as_json:
        layers = [asdict(one) for one in found]
        print_json({"scheme": quant.scheme, "samples": total, "layers": layers})
        return
    rows = [
        (
            one.name,
            one.op or "input",
            one.format,
            "no error" if one.snr_db is None else f"{one.snr_db:.1f}",
            f"{100 * one.error:.2f} %",
        )
        for one in found
    ]
    columns = ["quantized alone", "op", "format", "SNR at the output, dB#", "error#"]
    print_table(f"{quant.scheme}, {total} samples, worst first", columns, rows)


def _is_export(path: Path) -> bool:
    """Whether the folder holds an export; a SavedModel is a folder too."""
    return path.is_dir() and any(path.glob("*_reference.npz"))


def _exported(folder: Path, samples: str, name: str) -> tuple[Any, Any]:
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.reference import dequantize_inputs  # noqa: PLC0415
    from mcu_export.samples import load_samples  # noqa: PLC0415

    quant = open_export(folder, name).quant
    return quant, dequantize_inputs(quant, load_samples(samples, quant.graph.inputs))
