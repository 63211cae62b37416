"""Checkpoints whose batch norms somebody has folded already, though the graph still has them.

The folding scripts of speech command projects build the graph, assign folded weights as constants,
and save. Applying the batch norms of such a graph again ruins the network, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.moving_averages import FUSED_OPS
from mcu_export.loaders.tf.nodes import TfGraph, ancestors, owner
from mcu_export.ops import Array

_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})


def reject_folded(graph: TfGraph, known: Mapping[str, Array]) -> None:
    """An error where weights, but no statistics, were overwritten beside batch norms in use.

    Args:
        graph: the graph, with its outputs.
        known: values of the variables, by tensor.

    Raises:
        ModelFileError: the batch norms of the graph would be applied twice.
    """
    overwritten = _overwritten(graph, known)
    if not overwritten:
        return
    needed = ancestors(graph.nodes, graph.outputs)
    statistics: list[str] = []
    for node in needed.values():
        if node.op in FUSED_OPS:
            statistics += node.inputs[3:5]
        elif node.op == "Rsqrt":
            statistics += node.inputs
    behind = ancestors(graph.nodes, statistics)
    weights = sorted(name for name in overwritten if name in needed and name not in behind)
    if statistics and weights and not overwritten & behind.keys():
        raise ModelFileError(
            f"the weights {weights[0]!r} were overwritten after the training, and batch norms are "
            "still in the graph: they seem to be folded already and would be applied twice",
            where=graph.source,
            fix="export the checkpoint from before the folding; mcu-export folds by itself",
        )


def _overwritten(graph: TfGraph, known: Mapping[str, Array]) -> set[str]:
    """Variables that the graph assigns twice, one of the values being a constant, now stored."""
    assigned: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        if node.op in _ASSIGNS and len(node.inputs) == 2 and node.inputs[0] in known:
            source = graph.nodes[owner(node.inputs[1])]
            # A resource variable is restored through an Identity.
            if source.op == "Identity" and source.inputs:
                source = graph.nodes[owner(source.inputs[0])]
            assigned.setdefault(node.inputs[0], []).append(source.name)
    found = set()
    for variable, sources in assigned.items():
        ops = {name: graph.nodes[name].op for name in sources}
        written = [name for name, op in ops.items() if op != "RestoreV2"]
        constants = [name for name in written if ops[name] == "Const"]
        if len(written) > 1 and any(
            np.array_equal(graph.nodes[name].tensor("value"), known[variable]) for name in constants
        ):
            found.add(owner(variable))
    return found
