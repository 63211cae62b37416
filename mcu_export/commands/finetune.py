"""``mcu-export finetune``: train a network in the integers of its export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, progress_bar


@click.command("finetune")
@click.argument("model", type=FOLDER)
@click.option("--samples", required=True, metavar="F.npz[:KEY]", help="What to train on.")
@click.option("--labels", required=True, metavar="F.npz:KEY", help="Class number of each sample.")
@click.option("-o", "--output", type=FOLDER, required=True, help="The .keras file to write.")
@click.option("--scheme", default="q7", show_default=True, help="q7, q15 or q15x7.")
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=float, default=2e-4, show_default=True, help="Of Adam.")
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the samples that is held out; the best epoch is chosen on it.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of order and held-out part.")
@click.option("--bn-epsilon", type=float, help="Epsilon of every batch norm, not the file's own.")
@common_options
def command(
    model: Path,
    samples: str,
    labels: str,
    output: Path,
    scheme: str,
    epochs: int,
    batch: int,
    learning_rate: float,
    validation: float,
    seed: int,
    bn_epsilon: float | None,
    as_json: bool,
) -> None:
    """Train MODEL with exactly the arithmetic of its export; needs TensorFlow.

    Batch norms are folded and formats chosen first. Forward, every layer computes the integers of
    the C; backward, gradients are those of the float layers. The .keras file holds weights on the
    grid and the formats: its export has the accuracy that training printed.
    """
    from mcu_export.evaluate import class_count  # noqa: PLC0415
    from mcu_export.finetune.archive import check_name, save_keras  # noqa: PLC0415
    from mcu_export.finetune.train import Epoch, Training, finetune  # noqa: PLC0415
    from mcu_export.options import Options  # noqa: PLC0415
    from mcu_export.pipeline import quantize_model  # noqa: PLC0415
    from mcu_export.samples import load_labels  # noqa: PLC0415

    check_name(output)
    training = Training(epochs, batch, learning_rate, validation, seed)
    with progress_bar(as_json) as progress:
        options = Options(scheme=scheme, bn_epsilon=bn_epsilon)
        quant, inputs = quantize_model(model, samples, options, progress)
    truth = load_labels(labels, len(next(iter(inputs.values()))), class_count(quant.graph))

    def show(epoch: Epoch) -> None:
        if not as_json:
            loss = "" if epoch.loss is None else f", loss {epoch.loss:.4f}"
            click.echo(f"epoch {epoch.epoch}: accuracy {epoch.accuracy:.4f}{loss}")

    made = finetune(quant, inputs, truth, training, show)
    save_keras(made, output)
    if as_json:
        print_json(
            {
                "file": str(output),
                "scheme": scheme,
                "epochs": [asdict(epoch) for epoch in made.epochs],
                "best": asdict(made.best),
            }
        )
        return
    click.echo(f"epoch {made.best.epoch} is the best: {output} exports to {made.best.accuracy:.4f}")
