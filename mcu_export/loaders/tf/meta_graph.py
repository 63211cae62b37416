"""Checkpoints of TensorFlow 1 with the graph that they were trained in (``.meta``).

The graph is the training graph: losses, gradients and optimizer slots are in it, dropout is fed by
a placeholder, and batch norms normalize by the batch. What inference needs is taken out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcu_export.errors import McuExportError, ModelFileError
from mcu_export.graph import Graph
from mcu_export.loaders.tf.checkpoint import checkpoint_prefix, read_checkpoint
from mcu_export.loaders.tf.folded import reject_folded
from mcu_export.loaders.tf.functions import read_graph
from mcu_export.loaders.tf.graph import Imported, import_with_origins
from mcu_export.loaders.tf.moving_averages import use_moving_averages
from mcu_export.loaders.tf.nodes import TfGraph
from mcu_export.loaders.tf.outputs import logits
from mcu_export.loaders.tf.protos import parse, read_bytes
from mcu_export.loaders.tf.variables import variable_values
from mcu_export.ops import Array


def is_meta_graph(path: Path) -> bool:
    """Whether there is a ``.meta`` with a graph beside ``path``, judged by content."""
    try:
        meta = parse("MetaGraphDef", read_bytes(_meta_path(path)), path.name)
    except McuExportError:
        return False
    return len(meta.graph_def.node) > 0


def load_meta_graph(path: Path, *, bn_epsilon: float | None = None) -> Graph:
    """The network of a checkpoint for inference, from its input to the logits.

    Args:
        path: any of the files of the checkpoint, or the part that their names have in common.
        bn_epsilon: replaces the epsilon of every batch norm in the file.

    Raises:
        ModelFileError: a file is missing or damaged, or the network's end cannot be told.
        UnsupportedLayerError: an op or a combination that is not supported.
    """
    opened = open_meta_graph(path, read_checkpoint(path))
    return import_meta_graph(opened, bn_epsilon).graph


@dataclass(frozen=True, eq=False)
class MetaGraph:
    """The training graph, made ready for inference, and the values of its variables by tensor."""

    graph: TfGraph
    functions: Mapping[str, Any]
    known: Mapping[str, Array]


def open_meta_graph(path: Path, tensors: Mapping[str, Array]) -> MetaGraph:
    """The graph beside a checkpoint with the values of the checkpoint ``tensors``.

    Raises:
        ModelFileError: as :func:`load_meta_graph`.
    """
    file = _meta_path(path)
    if not file.is_file():
        raise ModelFileError(
            f"there is no {file.name}: the checkpoint has the weights, but not the network",
            where=path.name,
            fix="put the .meta file beside it, or freeze the graph and export the .pb file",
        )
    meta = parse("MetaGraphDef", read_bytes(file), file.name)
    graph, functions = read_graph(meta.graph_def, (), file.name)
    known = variable_values(graph, tensors)
    graph, known = use_moving_averages(graph, known)
    graph = replace(graph, outputs=(logits(graph, known),))
    reject_folded(graph, known)
    return MetaGraph(graph, functions, known)


def import_meta_graph(opened: MetaGraph, bn_epsilon: float | None = None) -> Imported:
    """The network of an opened checkpoint, and where its parameters come from."""
    details = {"format": "TensorFlow checkpoint"}
    return import_with_origins(
        opened.graph, opened.functions, details, known=opened.known, bn_epsilon=bn_epsilon
    )


def _meta_path(path: Path) -> Path:
    prefix = checkpoint_prefix(path)
    return prefix.with_name(prefix.name + ".meta")
