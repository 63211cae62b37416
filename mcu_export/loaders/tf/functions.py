"""Calls of functions in a TensorFlow 2 graph, replaced by the body of the function.

In a function a tensor is called ``node:output:index`` or is an argument, and outputs have names;
in a graph it is ``node:index``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.loaders.base import MAX_NODES
from mcu_export.loaders.tf.nodes import TfGraph, TfNode, ancestors, check_reads, read_nodes

CALL_OPS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_MAX_CALL_DEPTH = 64
_BATCH_NORM_OUTPUTS = ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2")
# Names of the outputs of ops that have several; of all others only the index counts.
_OUTPUTS: dict[str, tuple[str, ...]] = {
    "FusedBatchNorm": _BATCH_NORM_OUTPUTS,
    "FusedBatchNormV2": _BATCH_NORM_OUTPUTS,
    "FusedBatchNormV3": (*_BATCH_NORM_OUTPUTS, "reserve_space_3"),
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "DecodeWav": ("audio", "sample_rate"),
}


def read_graph(proto: Any, outputs: Sequence[str], source: str) -> tuple[TfGraph, dict[str, Any]]:
    """The graph of a GraphDef, calls replaced by what they call, and its functions by name.

    Raises:
        ModelFileError: the graph is not sound.
    """
    functions = {function.signature.name: function for function in proto.library.function}
    graph = TfGraph(read_nodes(proto.node, source), tuple(outputs), source)
    if not graph.nodes:
        raise ModelFileError("the graph has no nodes", where=source)
    return inline_calls(graph, functions), functions


def inline_calls(graph: TfGraph, functions: Mapping[str, Any]) -> TfGraph:
    """The graph with the body of the function in place of each call.

    A node of a function keeps its name where that is free, and gets the name of the call in front
    of it where it is not. What the outputs need comes first.

    Raises:
        ModelFileError: calls that never end, or that do not fit the function.
    """
    result: dict[str, TfNode] = {}
    aliases: dict[str, str] = {}
    taken = set(graph.nodes)
    needed = ancestors(check_reads(graph).nodes, graph.outputs)
    pending = deque((node, 0) for node in {**needed, **graph.nodes}.values())
    while pending:
        node, depth = pending.popleft()
        called = called_function(node, functions)
        if called is None:
            result[node.name] = node
            continue
        body = _body(node, functions[called], taken, aliases)
        if len(taken) > MAX_NODES or depth > _MAX_CALL_DEPTH:
            what = f"functions call each other too deep, or make more than {MAX_NODES} nodes"
            raise ModelFileError(what, where=graph.source)
        pending.extendleft((inner, depth + 1) for inner in reversed(body))
    return check_reads(graph.replaced(result, aliases))


def called_function(node: TfNode, functions: Collection[str]) -> str | None:
    """Name of the function that the node calls; None where it calls none that is known."""
    name = node.function("f") if node.op in CALL_OPS else node.op
    return name if name in functions else None


def _body(call: TfNode, function: Any, taken: set[str], aliases: dict[str, str]) -> list[TfNode]:
    """The nodes of the function for this call.

    ``taken`` learns their names, and ``aliases`` what the outputs of the call are.
    """
    inner = read_nodes(function.node_def, call.source)
    arguments = [argument.name for argument in function.signature.input_arg]
    if len(arguments) != len(call.inputs):
        what = f"gives {len(call.inputs)} inputs to a function of {len(arguments)}"
        raise ModelFileError(what, where=call.where)
    tensors: dict[str, str] = dict(zip(arguments, call.inputs, strict=True))
    names: dict[str, str] = {}
    for name in inner:
        names[name] = _free_name(call.name, name, taken)
        taken.add(names[name])

    def outer(tensor: str) -> str:
        head, _, rest = tensor.partition(":")
        if head in tensors and rest in ("", "0"):
            return tensors[head]
        if head not in inner:
            raise ModelFileError(f"its function reads {tensor!r}", where=call.where)
        return f"{names[head]}:{_output_index(inner[head], rest, call.where)}"

    for index, output in enumerate(function.signature.output_arg):
        aliases[f"{call.name}:{index}"] = outer(function.ret[output.name])
    return [
        replace(
            node,
            name=names[node.name],
            inputs=tuple(outer(tensor) for tensor in node.inputs),
            controls=call.controls + tuple(names[c] for c in node.controls if c in names),
        )
        for node in inner.values()
    ]


def _free_name(call: str, name: str, taken: Collection[str]) -> str:
    wanted, count = name, 1
    while wanted in taken:
        wanted = f"{call}/{name}" if count == 1 else f"{call}/{name}_{count}"
        count += 1
    return wanted


def _output_index(node: TfNode, rest: str, where: str) -> int:
    """Index among all outputs of the node of ``output:index``."""
    output, _, index = rest.rpartition(":") if ":" in rest else (rest, "", "0")
    if not index.isdecimal():
        raise ModelFileError(f"its function reads {node.name}:{rest}", where=where)
    outputs = _OUTPUTS.get(node.op, ())
    return int(index) + (outputs.index(output) if output in outputs else 0)
