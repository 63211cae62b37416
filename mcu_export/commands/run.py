"""``mcu-export run``: the bit-exact reference on samples."""

from __future__ import annotations

from pathlib import Path

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, progress_bar


@click.command("run")
@click.argument("folder", type=FOLDER)
@click.option("--samples", required=True, metavar="F.npz[:KEY]", help="What to run it on.")
@click.option("-o", "--output", type=FOLDER, required=True, help="The .npz file to write.")
@click.option("--name", default="", help="Which export, where the folder holds several.")
@common_options
def command(folder: Path, samples: str, output: Path, name: str, as_json: bool) -> None:
    """Run the export in FOLDER on samples, in integers, as the C does.

    Floats are quantized to the input's format, integers of the input's own type are taken as they
    are. Writes `output` (integers) and `output_real`; with several outputs `output.NAME`.
    """
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.inference import run_samples, save_outputs  # noqa: PLC0415
    from mcu_export.samples import load_samples  # noqa: PLC0415

    exported = open_export(folder, name)
    inputs = load_samples(samples, exported.quant.graph.inputs)
    with progress_bar(as_json) as progress:
        total = len(next(iter(inputs.values())))
        outputs = run_samples(exported.quant, inputs, lambda n: progress("run", n, total))
    save_outputs(output, outputs)
    arrays = {key: list(array.shape) for key, array in outputs.items()}
    if as_json:
        print_json({"file": str(output), "samples": total, "arrays": arrays})
        return
    click.echo(f"{total} samples to {output}: " + ", ".join(f"{k} {v}" for k, v in arrays.items()))
