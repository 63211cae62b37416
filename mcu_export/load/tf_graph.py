"""Frozen TensorFlow graphs (``.pb``): variables are constants, only inference is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcu_export.errors import McuExportError, ModelFileError
from mcu_export.graph import Graph
from mcu_export.load.base import MAX_FILE_BYTES
from mcu_export.load.protos import parse
from mcu_export.load.tf_front_end import FEATURE_OPS, features, front_end
from mcu_export.load.tf_importer import Importer
from mcu_export.load.tf_nodes import TfNode, graph_order, owner, read_nodes
from mcu_export.load.tf_ops import HANDLERS
from mcu_export.load.tf_values import Value, unsupported
from mcu_export.ops import Softmax

# A while loop of TensorFlow 1 or 2, or a fused cell: how recurrent layers appear in a graph.
RECURRENT_OPS = frozenset(
    {
        "Enter",
        "RefEnter",
        "Exit",
        "RefExit",
        "NextIteration",
        "RefNextIteration",
        "LoopCond",
        "While",
        "StatelessWhile",
        "TensorArrayV3",
        "TensorArrayReadV3",
        "TensorArrayWriteV3",
        "TensorArrayGatherV3",
        "TensorArrayScatterV3",
        "TensorListReserve",
        "TensorListStack",
        "TensorListFromTensor",
        "BlockLSTM",
        "LSTMBlockCell",
        "GRUBlockCell",
        "CudnnRNN",
        "CudnnRNNV2",
        "CudnnRNNV3",
    }
)
# Never an output of the network, though nobody reads them.
_NO_OUTPUT_OPS = frozenset({"NoOp", "Assert", "Print", "PrintV2"})
_OP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.>]*")
_INPUT_OPS = frozenset({"Placeholder", "PlaceholderWithDefault"})


def is_graph_def(data: bytes) -> bool:
    """Whether the bytes are a GraphDef, judged by content."""
    try:
        graph = parse("GraphDef", data, "")
    except McuExportError:
        return False
    nodes = graph.node
    return bool(nodes) and all(n.name and _OP_NAME.fullmatch(n.op) for n in nodes)


def load_frozen_graph(path: Path, *, bn_epsilon: float | None = None) -> Graph:
    """The network in a frozen graph, from its input or its audio features to the logits.

    Args:
        path: a serialized GraphDef.
        bn_epsilon: replaces the epsilon of every batch norm in the file.

    Raises:
        ModelFileError: the file cannot be read, or is no sound graph.
        UnsupportedLayerError: an op or a combination that is not supported.
    """
    graph = parse("GraphDef", read_bytes(path), path.name)
    nodes = read_nodes(graph, path.name)
    if not nodes:
        raise ModelFileError("the graph has no nodes", where=path.name)
    outputs = output_tensors(nodes, path.name)
    return import_graph(nodes, outputs, {"format": "TensorFlow frozen graph"}, bn_epsilon)


def read_bytes(path: Path) -> bytes:
    """The content of a file of plausible size; ``ModelFileError`` where it cannot be had."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelFileError(f"is larger than {MAX_FILE_BYTES} bytes", where=path.name)
        return path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ModelFileError(what, where=str(path), fix="check the path") from error


def import_graph(
    nodes: Mapping[str, TfNode],
    outputs: list[str],
    details: Mapping[str, Any],
    bn_epsilon: float | None = None,
    known: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Graph:
    """Our graph of the nodes that ``outputs`` need; a final Softmax is left off.

    Args:
        nodes: all nodes by name.
        outputs: tensors.
        details: what the loader already knows of the file.
        bn_epsilon: replaces the epsilon of every batch norm.
        known: values of tensors that are no constants in the graph (variables).
    """
    source = next(iter(nodes.values())).source
    given = {*FEATURE_OPS, *(known or {})}
    reject_recurrent(nodes, outputs, given)
    order = graph_order(nodes, outputs, given)
    handlers = {**HANDLERS, **dict.fromkeys(FEATURE_OPS, features(nodes))}
    importer = Importer(source, handlers, known, bn_epsilon)
    values = importer.run(order, outputs)
    anchors = [nodes[owner(tensor)] for tensor in outputs]
    names, dropped = [], False
    for value, anchor in zip(values, anchors, strict=True):
        name, was_softmax = _before_softmax(importer, value, anchor)
        names.append(name)
        dropped = dropped or was_softmax
    found = front_end(nodes, order)
    return importer.builder.finish(
        list(dict.fromkeys(names)),
        {
            **details,
            **({"front_end": found} if found else {}),
            **({"dropped_softmax": True} if dropped else {}),
        },
    )


def _before_softmax(importer: Importer, value: Value, anchor: TfNode) -> tuple[str, bool]:
    """Name of an output; of the logits where it is a Softmax that nothing follows.

    Classes are told by the largest value, and logits keep more bits than their softmax.
    """
    builder = importer.builder
    made = {node.name: node for node in builder.nodes}.get(value.source)
    readers = [node for node in builder.nodes if value.source in node.inputs]
    if made is None or value.affine or readers or not isinstance(made.op, Softmax):
        return importer.sample(value, anchor), False
    return made.inputs[0], True


def reject_recurrent(nodes: Mapping[str, TfNode], outputs: Iterable[str], given: set[str]) -> None:
    """An error that names the first recurrent op that the outputs need."""
    pending, seen = [owner(tensor) for tensor in outputs], set()
    while pending:
        node = nodes[pending.pop()]
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.op in RECURRENT_OPS:
            raise unsupported(
                node,
                f"the op {node.op} belongs to a loop; recurrent layers are not supported yet",
                "use a network without LSTM, GRU or other loops",
            )
        if node.op not in given and f"{node.name}:0" not in given:
            pending += [owner(tensor) for tensor in node.inputs]


def output_tensors(nodes: Mapping[str, TfNode], source: str) -> list[str]:
    """What depends on the input and is read by nobody; of an ArgMax, what it reads."""
    read = {owner(tensor) for node in nodes.values() for tensor in node.inputs}
    computed = _depend_on_input(nodes)
    outputs = []
    for node in nodes.values():
        if node.name in read or node.name not in computed or node.op in _NO_OUTPUT_OPS:
            continue
        outputs.append(node.inputs[0] if node.op == "ArgMax" else f"{node.name}:0")
    if not outputs:
        raise ModelFileError(
            "the graph has no output that depends on an input",
            where=source,
            fix="freeze the graph with its Placeholder and its last layer",
        )
    return list(dict.fromkeys(outputs))


def _depend_on_input(nodes: Mapping[str, TfNode]) -> set[str]:
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    for node in nodes.values():
        for tensor in node.inputs:
            readers[owner(tensor)].append(node.name)
    pending = [node.name for node in nodes.values() if node.op in _INPUT_OPS]
    found: set[str] = set()
    while pending:
        for name in readers[pending.pop()]:
            if name not in found:
                found.add(name)
                pending.append(name)
    return found
