"""``mcu-export inspect``: what is in a model file, before and after the passes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, print_table

if TYPE_CHECKING:
    from mcu_export.channel_ranges import ChannelRanges
    from mcu_export.graph import Graph


@click.command("inspect")
@click.argument("model", type=FOLDER)
@click.option("--bn-epsilon", type=float, help="Epsilon of every batch norm, not the file's own.")
@click.option(
    "--samples",
    default="",
    metavar="F.npz[:KEY]",
    help="Typical inputs: show the ranges of the channels of each layer.",
)
@common_options
def command(model: Path, bn_epsilon: float | None, samples: str, as_json: bool) -> None:
    """Show the layers of MODEL with shapes, MACs and parameters, before and after the passes."""
    from mcu_export.loaders import load  # noqa: PLC0415
    from mcu_export.passes import run_passes  # noqa: PLC0415

    loaded = load(model, bn_epsilon=bn_epsilon)
    *_, (_, graph) = run_passes(loaded)
    ranges = _ranges(graph, samples) if samples else []
    if as_json:
        print_json(
            {
                **({"channels": [asdict(one) for one in ranges]} if samples else {}),
                "model": model.name,
                "details": dict(loaded.details),
                "before": graph_facts(loaded),
                "after": graph_facts(graph),
                "folds": [vars(fold) for fold in graph.folds],
            }
        )
        return
    for title, shown in (("as loaded", loaded), ("after the passes", graph)):
        facts = graph_facts(shown)
        rows = [
            (
                layer["name"],
                layer["op"],
                ", ".join(layer["inputs"]),
                "x".join(map(str, layer["shape"])),
                layer["macs"],
                layer["parameters"],
            )
            for layer in facts["layers"]
        ]
        columns = ["layer", "op", "inputs", "output", "MACs#", "parameters#"]
        print_table(f"{model.name}, {title}", columns, rows)
        click.echo(f"{facts['macs']:,} MACs, {facts['parameters']:,} parameters\n")
    for fold in graph.folds:
        click.echo(f"{fold.batch_norm} goes into {fold.into}, epsilon {fold.epsilon:g}")
    if samples:
        _print_ranges(ranges)


def _ranges(graph: Graph, samples: str) -> list[ChannelRanges]:
    from mcu_export.channel_ranges import channel_ranges  # noqa: PLC0415
    from mcu_export.samples import load_samples  # noqa: PLC0415

    return channel_ranges(graph, load_samples(samples, graph.inputs))


def _print_ranges(ranges: list[ChannelRanges]) -> None:
    """Bits are lost where one format has to serve channels of different ranges."""
    rows = [
        (
            one.name,
            one.channels,
            one.silent,
            f"{one.least:.3g}",
            f"{one.median:.3g}",
            f"{one.most:.3g}",
            f"{one.lost_bits:.1f}",
            "" if one.weights_lost_bits is None else f"{one.weights_lost_bits:.1f}",
        )
        for one in ranges
    ]
    columns = ["layer", "channels#", "always 0#", "least range#", "median#", "largest#"]
    columns += ["bits that the median loses#", "in the weights#"]
    print_table("\nranges of channels, largest magnitude of each", columns, rows)


def graph_facts(graph: Any) -> dict[str, Any]:
    """A graph as plain lists and numbers."""
    from mcu_export.graph import node_macs  # noqa: PLC0415

    shapes = graph.shapes()
    return {
        "inputs": [{"name": t.name, "shape": list(t.shape)} for t in graph.inputs],
        "outputs": list(graph.outputs),
        "layers": [
            {
                "name": node.name,
                "op": node.op.text(),
                "inputs": list(node.inputs),
                "shape": list(node.shape),
                "macs": node_macs(node, shapes),
                "parameters": sum(int(array.size) for array in node.params.values()),
            }
            for node in graph.nodes
        ],
        "macs": graph.macs(),
        "parameters": graph.parameters(),
    }
