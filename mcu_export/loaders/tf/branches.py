"""Branches of a graph whose condition is constant: only the one that is taken stays.

Training graphs choose by an ``is_training`` placeholder. TensorFlow 1 sends a tensor through
``Switch`` to one of two branches, and ``Merge`` takes what arrives; TensorFlow 2 has an ``If``
that calls one of two functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.fold import fold
from mcu_export.loaders.tf.functions import inline_calls
from mcu_export.loaders.tf.importer import PASSING_OPS
from mcu_export.loaders.tf.nodes import TfGraph, TfNode, inference_order, owner, walk
from mcu_export.loaders.tf.values import Known
from mcu_export.ops import Array

_SWITCHES = frozenset({"Switch", "RefSwitch"})
_MERGES = frozenset({"Merge", "RefMerge"})
_MAX_BRANCH_DEPTH = 32
_IFS = frozenset({"If", "StatelessIf"})


def take_branches(
    graph: TfGraph, functions: Mapping[str, Any], known: Mapping[str, Array]
) -> TfGraph:
    """The graph without branches, as far as their conditions are constant.

    Args:
        graph: the graph.
        functions: its functions by name.
        known: values of tensors that are no constants in the graph.

    Raises:
        ModelFileError: branches within branches without end.
    """
    for _ in range(_MAX_BRANCH_DEPTH):
        ops = {node.op for node in inference_order(graph, known)}
        chosen = dict(_chosen_functions(graph, known)) if ops & _IFS else {}
        if not chosen:
            return _without_switches(graph, known) if ops & _MERGES else graph
        graph = inline_calls(replace(graph, nodes={**graph.nodes, **chosen}), functions)
    raise ModelFileError("branches call each other without end", where=graph.source)


def _chosen_functions(graph: TfGraph, known: Mapping[str, Array]) -> Iterator[tuple[str, TfNode]]:
    """For each If of constant condition the call of the branch that is taken."""
    for node in inference_order(graph, known):
        if node.op in _IFS and node.inputs:
            condition = _condition(graph, node.inputs[0], known)
            if condition is not None:
                branch = "then_branch" if condition else "else_branch"
                attrs = {"f": node.attrs[branch]} if branch in node.attrs else {}
                call = replace(node, op="PartitionedCall", inputs=node.inputs[1:], attrs=attrs)
                yield node.name, call


def _without_switches(graph: TfGraph, known: Mapping[str, Array]) -> TfGraph:
    """The graph with a tensor in place of each Switch and Merge that is decided."""

    def before(node: TfNode) -> list[str]:
        return [*map(owner, node.inputs), *_pivots(graph, node)]

    @cache
    def condition_of(tensor: str) -> bool | None:
        return _condition(graph, tensor, known)

    dead_nodes: set[str] = set()
    dead: set[str] = set()
    aliases: dict[str, str] = {}
    for node in walk(graph.nodes, map(owner, graph.outputs), before):
        alive = [t for t in node.inputs if t not in dead and owner(t) not in dead_nodes]
        if node.op in _MERGES:
            if len(alive) == 1:
                aliases[f"{node.name}:0"] = alive[0]
            elif not alive:
                dead_nodes.add(node.name)
        elif len(alive) < len(node.inputs) or any(
            name in dead_nodes for name in _pivots(graph, node)
        ):
            dead_nodes.add(node.name)
        elif node.op in _SWITCHES and len(node.inputs) == 2:
            condition = condition_of(node.inputs[1])
            if condition is not None:
                dead.add(f"{node.name}:{int(not condition)}")
                aliases[f"{node.name}:{int(condition)}"] = node.inputs[0]
    return graph.replaced(graph.nodes, aliases)


def _pivots(graph: TfGraph, node: TfNode) -> list[str]:
    """What ties a node without inputs to its branch: control inputs that come from a Switch."""
    found = []
    for name in node.controls:
        pivot = graph.nodes.get(name)
        if pivot is not None and pivot.op == "Identity" and pivot.inputs:
            pivot = graph.nodes[owner(pivot.inputs[0])]
        if pivot is not None and pivot.op in _SWITCHES:
            found.append(name)
    return found


def _condition(graph: TfGraph, tensor: str, known: Mapping[str, Array]) -> bool | None:
    """The value of a condition; None where it is computed at run time."""
    values = {name: Known(array) for name, array in known.items()}
    for node in inference_order(replace(graph, outputs=(tensor,)), known):
        name = f"{node.name}:0"
        if name in values:
            continue
        inputs = [values[read] for read in node.inputs if read in values]
        value = _constant(node, inputs) if len(inputs) == len(node.inputs) else None
        if value is None:
            return None
        values[name] = value
    result = values.get(tensor)
    return None if result is None or result.array.size != 1 else bool(result.array.item())


def _constant(node: TfNode, inputs: Sequence[Known]) -> Known | None:
    if node.op == "Const":
        return Known(node.tensor("value"))
    if not inputs:
        return None
    if node.op in PASSING_OPS:
        return inputs[0]
    try:
        return fold(node, inputs)
    except (ValueError, IndexError, TypeError, KeyError, ArithmeticError):
        return None
