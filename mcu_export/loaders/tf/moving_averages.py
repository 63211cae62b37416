"""Batch norms in training form: the statistics of the batch become the moving averages.

A training graph normalizes by the mean and the variance of the batch, and beside that updates a
variable from each of them. The variables are what inference normalizes by. The update tells which
variable belongs to which statistic, whatever anything is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from mcu_export.loaders.tf.nodes import TfGraph, TfNode, owner
from mcu_export.loaders.tf.protos import new
from mcu_export.ops import Array

FUSED_OPS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_UPDATES = frozenset(
    {
        "Assign",
        "AssignAdd",
        "AssignSub",
        "AssignVariableOp",
        "AssignAddVariableOp",
        "AssignSubVariableOp",
    }
)
# What stands between a statistic and the variable: variable -= (variable - statistic) * rate.
_ARITHMETIC = frozenset({"Identity", "Sub", "Mul", "Add", "AddV2", "StopGradient", "Cast"})
_LAYOUTS = frozenset({"Squeeze", "Reshape"})


def use_moving_averages(
    graph: TfGraph, known: Mapping[str, Array]
) -> tuple[TfGraph, dict[str, Array]]:
    """The graph for inference, and the values of the tensors that are given in it.

    Args:
        graph: a graph for training or for inference; the latter is left as it is.
        known: values of the variables, by tensor.
    """
    values = dict(known)
    fused: dict[str, dict[int, str]] = {}
    for variable, statistic in _updates(graph, known):
        node = graph.nodes[owner(statistic)]
        if node.op in FUSED_OPS:
            fused.setdefault(node.name, {})[int(statistic.rpartition(":")[2])] = variable
            continue
        values[statistic] = known[variable]
        if node.op in _LAYOUTS:
            values[node.inputs[0]] = known[variable]
    nodes = dict(graph.nodes)
    for name, averages in fused.items():
        if len(averages) == 2 and nodes[name].flag("is_training", True):
            nodes[name] = _for_inference(nodes[name], averages[1], averages[2])
    return replace(graph, nodes=nodes), values


def _for_inference(node: TfNode, mean: str, variance: str) -> TfNode:
    """The fused batch norm with ``is_training`` off, on these statistics."""
    off = new("AttrValue")
    off.b = False
    attrs = {**dict(node.attrs), "is_training": off}
    return replace(node, inputs=(*node.inputs[:3], mean, variance), attrs=attrs)


def _updates(graph: TfGraph, known: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    """Each variable that is updated from one statistic of the batch, and the statistic."""
    for node in graph.nodes.values():
        if node.op in _UPDATES and len(node.inputs) >= 2 and node.inputs[0] in known:
            statistics = _statistics(graph, node.inputs[1])
            if len(statistics) == 1:
                yield node.inputs[0], statistics.pop()


def _statistics(graph: TfGraph, tensor: str) -> set[str]:
    """The statistics that ``tensor`` is computed from by plain arithmetic."""
    found: set[str] = set()
    pending, seen = [tensor], set()
    while pending:
        current = pending.pop()
        node = graph.nodes[owner(current)]
        if current in seen:
            continue
        seen.add(current)
        if node.op in FUSED_OPS or _is_batch_mean(graph, node):
            found.add(current)
        elif node.op in _ARITHMETIC:
            pending += node.inputs
    return found


def _is_batch_mean(graph: TfGraph, node: TfNode) -> bool:
    """Whether the node is a mean over the batch (and more), or that in another shape."""
    if node.op in _LAYOUTS and node.inputs:
        node = graph.nodes[owner(node.inputs[0])]
    if node.op != "Mean" or len(node.inputs) != 2:
        return False
    axes = graph.nodes[owner(node.inputs[1])]
    return axes.op == "Const" and 0 in axes.tensor("value")
