"""Frozen TensorFlow graphs (``.pb``), and what all forms of TensorFlow graphs have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.graph import Graph
from mcu_export.loaders.tf.branches import take_branches
from mcu_export.loaders.tf.front_end import FEATURE_OPS, features, front_end
from mcu_export.loaders.tf.functions import read_graph
from mcu_export.loaders.tf.importer import Importer
from mcu_export.loaders.tf.nodes import TfGraph, inference_order, owner
from mcu_export.loaders.tf.ops import HANDLERS
from mcu_export.loaders.tf.outputs import last_tensors
from mcu_export.loaders.tf.protos import parse, read_bytes
from mcu_export.loaders.tf.recurrent import reject_recurrent
from mcu_export.loaders.tf.settings import settings
from mcu_export.loaders.tf.values import Value
from mcu_export.ops import Array, Softmax

_OP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.>]*")


def is_graph_def(data: bytes | Path) -> bool:
    """Whether the bytes, or the content of the file, are a GraphDef; the name does not count."""
    try:
        content = read_bytes(data) if isinstance(data, Path) else data
        graph = parse("GraphDef", content, "")
    except McuExportError:
        return False
    nodes = graph.node
    return bool(nodes) and all(n.name and _OP_NAME.fullmatch(n.op) for n in nodes)


def load_frozen_graph(path: Path, *, bn_epsilon: float | None = None) -> Graph:
    """The network in a frozen graph, from its input or its audio features to the logits.

    Args:
        path: a serialized GraphDef whose variables are constants.
        bn_epsilon: replaces the epsilon of every batch norm in the file.

    Raises:
        ModelFileError: the file cannot be read, or is no sound graph.
        UnsupportedLayerError: an op or a combination that is not supported.
    """
    graph, functions = open_frozen_graph(path)
    details = {"format": "TensorFlow frozen graph"}
    return import_graph(graph, functions, details, bn_epsilon=bn_epsilon)


@dataclass(frozen=True, eq=False)
class Imported:
    """A graph of ours, the TensorFlow graph it was made of, and what the import knew."""

    graph: Graph
    tf: TfGraph
    importer: Importer


def open_frozen_graph(path: Path) -> tuple[TfGraph, dict[str, Any]]:
    """The graph of the file with its outputs, and its functions."""
    proto = parse("GraphDef", read_bytes(path), path.name)
    graph, functions = read_graph(proto, (), path.name)
    return TfGraph(graph.nodes, last_tensors(graph), path.name), functions


def import_graph(
    graph: TfGraph,
    functions: Mapping[str, Any],
    details: Mapping[str, Any],
    *,
    known: Mapping[str, Array] | None = None,
    bn_epsilon: float | None = None,
    keep_softmax: bool = False,
) -> Graph:
    """Our graph of what the outputs need.

    Args:
        graph: nodes and outputs.
        functions: functions of the graph by name.
        details: what the loader already knows of the file.
        known: values of tensors that are no constants in the graph (variables).
        bn_epsilon: replaces the epsilon of every batch norm.
        keep_softmax: whether a Softmax at the end stays.
    """
    return import_with_origins(
        graph, functions, details, known=known, bn_epsilon=bn_epsilon, keep_softmax=keep_softmax
    ).graph


def import_with_origins(
    graph: TfGraph,
    functions: Mapping[str, Any],
    details: Mapping[str, Any],
    *,
    known: Mapping[str, Array] | None = None,
    bn_epsilon: float | None = None,
    keep_softmax: bool = False,
) -> Imported:
    """As :func:`import_graph`, with what a fold of the file itself needs to know."""
    first_error: McuExportError | None = None
    for setting in settings(graph):
        try:
            given = {**setting, **(known or {})}
            return _import(graph, functions, details, given, bn_epsilon, keep_softmax)
        except (ModelFileError, UnsupportedLayerError) as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def _import(
    graph: TfGraph,
    functions: Mapping[str, Any],
    details: Mapping[str, Any],
    known: Mapping[str, Array],
    bn_epsilon: float | None,
    keep_softmax: bool,
) -> Imported:
    given = {*FEATURE_OPS, *known}
    reject_recurrent(graph, given)
    graph = take_branches(graph, functions, known)
    reject_recurrent(graph, given)
    order = inference_order(graph, given)
    handlers = {**HANDLERS, **dict.fromkeys(FEATURE_OPS, features(graph.nodes))}
    importer = Importer(graph.source, handlers, known, bn_epsilon)
    names, dropped = [], False
    for tensor, value in importer.run(order, graph.outputs).items():
        logits = None if keep_softmax else _logits(importer, value)
        dropped = dropped or logits is not None
        names.append(importer.sample(logits or value, graph.nodes[owner(tensor)]))
    found = front_end(graph.nodes, order)
    more: dict[str, Any] = {"front_end": found} if found else {}
    if dropped:
        more["dropped_softmax"] = True
    made = importer.builder.finish(list(dict.fromkeys(names)), {**details, **more})
    return Imported(made, graph, importer)


def _logits(importer: Importer, value: Value) -> Value | None:
    """What an output is the Softmax of; None where it is no Softmax, or somebody reads that.

    Classes are told by the largest value, and logits keep more bits than their softmax.
    """
    nodes = importer.builder.nodes
    made = next((node for node in nodes if node.name == value.source), None)
    read = any(value.source in node.inputs for node in nodes)
    if made is None or read or value.affine or not isinstance(made.op, Softmax):
        return None
    return replace(value, source=made.inputs[0])
