"""``mcu-export fold``: a model file without its batch norms, in its own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, print_table

SIZE_OPTION = "--model-size-info"


class FoldCommand(click.Command):
    """Takes the numbers after ``--model-size-info`` one by one, as the original scripts do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if SIZE_OPTION in args:
            start = args.index(SIZE_OPTION) + 1
            end = start
            while end < len(args) and args[end].isdecimal():
                end += 1
            if end > start:
                args = [*args[:start], " ".join(args[start:end]), *args[end:]]
        return super().parse_args(ctx, args)


@click.command("fold", cls=FoldCommand)
@click.argument("model", type=FOLDER)
@click.argument("out", type=FOLDER, required=False)
@click.option(
    "--samples", default="", metavar="F.npz[:KEY]", help="Compare on these, too, not only random."
)
@click.option(
    "--bn-epsilon",
    type=click.FloatRange(min=0),
    default=0.001,
    show_default=True,
    help="Epsilon where no graph says it.",
)
@click.option(
    "--batch-norms",
    type=click.Choice(["neutral", "keep", "remove"]),
    default="neutral",
    show_default=True,
    help="What a checkpoint has for folded batch norms.",
)
@click.option(
    "--arch",
    type=click.Choice(["dnn", "cnn", "cnn2", "ds_cnn"]),
    default=None,
    help="Naming convention of a checkpoint without .meta.",
)
@click.option(SIZE_OPTION, "size_info", default="", metavar="N...", help="Its sizes, to check.")
@common_options
def command(
    model: Path,
    out: Path | None,
    samples: str,
    bn_epsilon: float,
    batch_norms: str,
    arch: str | None,
    size_info: str,
    as_json: bool,
) -> None:
    """Fold the batch norms of MODEL into its weights and write OUT (default: MODEL_bnfused).

    MODEL is a TensorFlow 1 checkpoint, with the graph in .meta or a naming convention, a frozen
    .pb, or a Keras file of any version, which becomes a .keras of Keras 3. In a checkpoint all
    variables keep their names, those of the training alone are left out. Variables of folded batch
    norms become neutral: a graph with batch norms computes the same as one without. With `keep`
    they stay as they were, for graphs without batch norms only.
    """
    from mcu_export.errors import UsageError  # noqa: PLC0415
    from mcu_export.fold import Settings, fold  # noqa: PLC0415

    numbers = size_info.replace(",", " ").split()
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(f"{size_info!r} is no list of numbers", where=SIZE_OPTION)
    sizes = tuple(int(number) for number in numbers)
    done = fold(model, out, Settings(bn_epsilon, batch_norms, arch or "", sizes, samples))
    if as_json:
        print_json(as_plain(done))
        return
    rows = [
        (name, item.layer, f"{epsilon:g}")
        for item in done.folds
        for name, epsilon in zip(item.batch_norms, item.epsilons, strict=True)
    ]
    print_table(f"{len(rows)} batch norms folded", ["batch norm", "into", "epsilon"], rows)
    for name, reason in done.kept.items():
        click.echo(f"not folded: {name}, {reason}")
    result = done.comparison
    what = "outputs" if done.scope == "network" else "outputs of the layers"
    click.echo(
        f"largest difference of the {what} on {result.samples} inputs: {result.difference:.2e} "
        f"({result.relative:.1e} of the largest output)"
    )
    click.echo("written: " + ", ".join(str(file) for file in done.files))


def as_plain(done: Any) -> dict[str, Any]:
    """The report for ``--json``."""
    return {
        "folds": [
            {
                "layer": item.layer,
                "batch_norms": list(item.batch_norms),
                "epsilons": list(item.epsilons),
            }
            for item in done.folds
        ],
        "not_folded": dict(done.kept),
        "compared": done.scope,
        "samples": done.comparison.samples,
        "difference": done.comparison.difference,
        "relative_difference": done.comparison.relative,
        "files": [str(file) for file in done.files],
    }
