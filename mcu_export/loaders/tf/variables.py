"""Which tensor of a checkpoint belongs to which variable of a graph.

A graph that was saved with its variables also holds the ops that restore them: ``RestoreV2`` reads
tensors by name, ``Assign`` or ``AssignVariableOp`` puts each into a variable. That says it for
every version of TensorFlow. Without such ops a variable is looked up by its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mcu_export.loaders.tf.nodes import TfGraph, owner
from mcu_export.ops import Array

VARIABLE_OPS = frozenset({"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"})
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_READS = frozenset({"Identity", "ReadVariableOp"})
_MAX_READS = 8


def variable_values(graph: TfGraph, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The value of each variable that the checkpoint has, by the variable's tensor.

    Args:
        graph: a graph without calls of functions.
        tensors: the checkpoint.
    """
    keys: dict[str, str] = {}
    for node in graph.nodes.values():
        if node.op in VARIABLE_OPS:
            shared = node.text("shared_name", "")
            keys[f"{node.name}:0"] = shared if shared in tensors else node.name
    assigned = list(_assigned(graph))
    for variable, source in assigned:
        keys.update(_restored(graph, variable, source))
    values = {tensor: tensors[key] for tensor, key in keys.items() if key in tensors}
    # Keras 3 saves copies of its variables, which are initialized from those that the graph reads.
    for variable, source in assigned:
        original = graph.nodes[owner(source)]
        if variable in values and original.op in VARIABLE_OPS:
            values.setdefault(source, values[variable])
    return values


def _assigned(graph: TfGraph) -> Iterator[tuple[str, str]]:
    """Each variable that the graph assigns, and the tensor that it gets."""
    for node in graph.nodes.values():
        if node.op in _ASSIGNS and len(node.inputs) == 2:
            variable, source = node.inputs
            for _ in range(_MAX_READS):
                before = graph.nodes[owner(source)]
                if before.op not in _READS or not before.inputs:
                    break
                source = before.inputs[0]
            yield variable, source


def _restored(graph: TfGraph, variable: str, source: str) -> Iterator[tuple[str, str]]:
    """The variable and its name in the checkpoint, where ``source`` is read from there."""
    restore = graph.nodes[owner(source)]
    if restore.op == "RestoreV2" and len(restore.inputs) == 3:
        names = graph.nodes[owner(restore.inputs[1])].texts("value")
        index = int(source.rpartition(":")[2])
        if index < len(names):
            yield variable, names[index]
