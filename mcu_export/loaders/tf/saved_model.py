"""SavedModels of TensorFlow 1, TensorFlow 2 and Keras: a folder with ``saved_model.pb``.

The graph comes from the serving signature, the values from the checkpoint in ``variables``. The
object graph, which could name Python classes, is not looked at.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mcu_export.errors import McuExportError, ModelFileError
from mcu_export.graph import Graph
from mcu_export.loaders.tf.checkpoint import is_checkpoint, read_checkpoint
from mcu_export.loaders.tf.functions import read_graph
from mcu_export.loaders.tf.graph import import_graph
from mcu_export.loaders.tf.moving_averages import use_moving_averages
from mcu_export.loaders.tf.nodes import TfGraph, owner
from mcu_export.loaders.tf.protos import new, parse, read_bytes
from mcu_export.loaders.tf.variables import variable_values
from mcu_export.ops import Array

FILE_NAME = "saved_model.pb"
_SERVE = "serve"
_DEFAULT_SIGNATURE = "serving_default"
_SCHEMA_VERSION = 1


def is_saved_model(path: Path) -> bool:
    """Whether the folder, or its ``saved_model.pb``, is a SavedModel, judged by content."""
    try:
        model = parse("SavedModel", read_bytes(_file_of(path)), path.name)
    except McuExportError:
        return False
    return model.saved_model_schema_version == _SCHEMA_VERSION and len(model.meta_graphs) > 0


def load_saved_model(path: Path, *, bn_epsilon: float | None = None) -> Graph:
    """The network of the serving signature, as the signature says: a last Softmax stays.

    Args:
        path: the folder, or the ``saved_model.pb`` in it.
        bn_epsilon: replaces the epsilon of every batch norm in the file.

    Raises:
        ModelFileError: a file is missing or damaged, or there is no signature.
        UnsupportedLayerError: an op or a combination that is not supported.
    """
    file = _file_of(path)
    source = file.parent.name or FILE_NAME
    model = parse("SavedModel", read_bytes(file), source)
    meta = _serving_graph(model, source)
    name, signature = _signature(meta, source)
    outputs = [info.name for _, info in sorted(signature.outputs.items())]
    graph, functions = read_graph(meta.graph_def, outputs, source)
    graph = _with_inputs(graph, signature)
    known = variable_values(graph, _variables(file.parent))
    graph, known = use_moving_averages(graph, known)
    details = {"format": "TensorFlow SavedModel", "signature": name}
    return import_graph(
        graph, functions, details, known=known, bn_epsilon=bn_epsilon, keep_softmax=True
    )


def _file_of(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path


def _variables(folder: Path) -> dict[str, Array]:
    prefix = folder / "variables" / "variables"
    return read_checkpoint(prefix) if is_checkpoint(prefix) else {}


def _serving_graph(model: Any, source: str) -> Any:
    for meta in model.meta_graphs:
        if _SERVE in meta.meta_info_def.tags:
            return meta
    if not model.meta_graphs:
        raise ModelFileError("the SavedModel has no graph", where=source, fix="save it again")
    return model.meta_graphs[0]


def _signature(meta: Any, source: str) -> tuple[str, Any]:
    """Name and definition of the signature: ``serving_default``, or the only one."""
    found = {
        name: signature
        for name, signature in sorted(meta.signature_def.items())
        if signature.inputs and signature.outputs
    }
    if _DEFAULT_SIGNATURE in found:
        return _DEFAULT_SIGNATURE, found[_DEFAULT_SIGNATURE]
    if len(found) != 1:
        raise ModelFileError(
            f"has no signature {_DEFAULT_SIGNATURE!r}, but {', '.join(found) or 'none at all'}",
            where=source,
            fix="save the model with a serving signature (tf.saved_model.save, model.export)",
        )
    return next(iter(found.items()))


def _with_inputs(graph: TfGraph, signature: Any) -> TfGraph:
    """The graph with placeholders where the signature has inputs."""
    nodes = dict(graph.nodes)
    for info in signature.inputs.values():
        node = nodes.get(owner(info.name))
        if node is None:
            what = f"the signature has the input {info.name!r}, the graph has not"
            raise ModelFileError(what, where=graph.source)
        shape, dtype = new("AttrValue"), new("AttrValue")
        shape.shape.CopyFrom(info.tensor_shape)
        dtype.type = info.dtype
        attrs = {"shape": shape, "dtype": dtype}
        nodes[node.name] = replace(node, op="Placeholder", inputs=(), attrs=attrs)
    return replace(graph, nodes=nodes)
