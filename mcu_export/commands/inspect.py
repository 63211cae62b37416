"""``mcu-export inspect``: what is in a model file, before and after the passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, print_table


@click.command("inspect")
@click.argument("model", type=FOLDER)
@click.option("--bn-epsilon", type=float, help="Epsilon of every batch norm, not the file's own.")
@common_options
def command(model: Path, bn_epsilon: float | None, as_json: bool) -> None:
    """Show the layers of MODEL with shapes, MACs and parameters, before and after the passes."""
    from mcu_export.loaders import load  # noqa: PLC0415
    from mcu_export.passes import run_passes  # noqa: PLC0415

    loaded = load(model, bn_epsilon=bn_epsilon)
    *_, (_, graph) = run_passes(loaded)
    if as_json:
        print_json(
            {
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
