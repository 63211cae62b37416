"""``NAME.json``: everything about an export in one JSON object; scripts rely on its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcu_export.graph import Graph
from mcu_export.program import Layout, Port, Program, Step
from mcu_export.quantgraph import QuantGraph
from mcu_export.version import ABI, __version__


def manifest(
    quant: QuantGraph,
    program: Program,
    layout: Layout,
    options: Mapping[str, Any],
    model: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of an export.

    Args:
        quant, program, layout: the network in its stages.
        options: what the user asked for.
        model: name and digest of the model file.
    """
    graph = quant.graph
    return {
        "tool": "mcu-export",
        "version": __version__,
        "abi": ABI,
        "name": program.name,
        "scheme": program.scheme,
        "backend": program.backend,
        "cmsis_nn_version": program.cmsis_nn_version or None,
        "model": dict(model),
        "options": dict(options),
        "details": dict(graph.details),
        "inputs": [_port(port, quant) for port in program.inputs],
        "outputs": [_port(port, quant) for port in program.outputs],
        "labels": list(program.labels),
        "layers": [_layer(step) for step in program.steps],
        "folds": _folds(graph),
        "macs": sum(step.facts["macs"] for step in program.steps),
        "memory": {
            "ram": layout.arena_bytes,
            "arena": layout.arena_bytes,
            "scratch": layout.scratch_bytes,
            "weights": sum(step.weight_bytes for step in program.steps),
            "arena_lower_bound": layout.lower_bound,
        },
        "arena": [
            {
                "values": list(life.values),
                "offset": life.offset,
                "bytes": life.bytes,
                "first_step": life.first,
                "last_step": life.last,
            }
            for life in layout.lifetimes
        ],
    }


def _port(port: Port, quant: QuantGraph) -> dict[str, Any]:
    fmt = quant.formats()[port.value]
    return {
        "name": port.value,
        "c_name": port.identifier,
        "c_type": port.ctype,
        "shape": list(quant.graph.shapes()[port.value]),
        **fmt.facts(),
    }


def _layer(step: Step) -> dict[str, Any]:
    return {
        "name": step.layer,
        "op": step.op,
        "kernel": step.kernel,
        "weight_bytes": step.weight_bytes,
        "scratch_bytes": step.scratch.bytes if step.scratch else 0,
        "estimated_instructions": step.instructions,
        **step.facts,
    }


def _folds(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "batch_norm": fold.batch_norm,
            "into": fold.into,
            "epsilon": fold.epsilon,
            "difference": float(f"{fold.difference:.3g}"),
        }
        for fold in graph.folds
    ]


def loaded_layers(graph: Graph) -> list[dict[str, Any]]:
    """The layers of the model file, before any pass, for ``mcu-export report``."""
    return [
        {
            "name": node.name,
            "op": node.op.kind,
            "inputs": list(node.inputs),
            "shape": list(node.shape),
        }
        for node in graph.nodes
    ]


def manifest_text(content: Mapping[str, Any]) -> str:
    """The manifest as it is written; the same for the same export."""
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"
