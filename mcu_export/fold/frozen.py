"""Folding a frozen graph: a ``.pb`` without batch norms, which TensorFlow runs as before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.fold.base import (
    Folding,
    LayerFold,
    Settings,
    compare,
    plan_folds,
    scaled_weights,
    unfolded,
)
from mcu_export.loaders.tf.graph import Imported, import_with_origins, open_frozen_graph
from mcu_export.loaders.tf.nodes import DTYPES, TfGraph, TfNode, ancestors, owner
from mcu_export.loaders.tf.outputs import last_tensors
from mcu_export.loaders.tf.protos import new, parse, read_bytes
from mcu_export.loaders.tf.values import Origin, Value
from mcu_export.ops import Array
from mcu_export.samples import load_samples

_DETAILS: Mapping[str, Any] = {}


def fold_frozen(path: Path, out: Path, settings: Settings) -> Folding:
    """Fold the frozen graph ``path`` and write ``out``. Names of what stays do not change.

    Raises:
        ModelFileError: it cannot be read, or nothing is there to fold.
        VerificationError: the folded network computes something else.
    """
    if out.resolve() == path.resolve():
        raise ModelFileError("would overwrite the original", where=str(out), fix="name another OUT")
    graph, functions = open_frozen_graph(path)
    imported = import_with_origins(graph, functions, _DETAILS)
    folds = plan_folds(imported.graph)
    kept = unfolded(imported.graph, folds)
    if not folds:
        raise ModelFileError(
            "no batch norm can be folded: " + ("; ".join(kept) or "the graph has none"),
            where=path.name,
            fix="use it as it is; it may be folded already",
        )
    nodes = dict(imported.tf.nodes)
    for item in folds:
        _fold_layer(nodes, imported, item)
    nodes = _without_unused(imported.tf.nodes, nodes)
    after = TfGraph(nodes, (), path.name)
    after = replace(after, outputs=last_tensors(after))
    twin = import_with_origins(after, functions, _DETAILS).graph
    samples = load_samples(settings.samples, twin.inputs) if settings.samples else None
    comparison = compare(imported.graph, twin, samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(_graph_def(nodes.values(), path))
    return Folding(tuple(folds), kept, comparison, "network", (out,))


def _fold_layer(nodes: dict[str, TfNode], imported: Imported, item: LayerFold) -> None:
    """Rewrite weights and biases of one layer; its batch norms pass on what they read."""
    origins = imported.importer.origins
    layer = imported.graph.node(item.layer)
    (weights,) = origins[item.layer, "weights"]
    reader = nodes[weights.reader]
    transposed = reader.flag("transpose_b", reader.flag("adj_y", False))
    scaled = scaled_weights(layer.op, weights.array, item.scale, transposed)
    _set_constant(nodes, weights, scaled.reshape(weights.array.shape))
    bias = np.asarray(layer.params["bias"], np.float64)
    offset = bias * item.scale + item.offset - bias
    for origin in origins.get((item.layer, "bias"), ()):
        if origin.index >= 0:
            # The first constant takes all of it; what is no constant of its own stays.
            total = offset + np.broadcast_to(origin.array.reshape(-1), bias.shape)
            fits = origin.array.size == bias.size
            _set_constant(nodes, origin, total.reshape(origin.array.shape) if fits else total)
            offset = np.zeros_like(offset)
            break
    for norm in item.batch_norms:
        last = norm == item.batch_norms[-1]
        _replace_batch_norm(nodes, imported, norm, offset if last else np.zeros_like(offset))


def _replace_batch_norm(
    nodes: dict[str, TfNode], imported: Imported, name: str, offset: Array
) -> None:
    """The last node of a batch norm becomes Identity, or BiasAdd of what is left to add."""
    node = nodes[imported.importer.origins[name, "mean"][0].reader]
    source = _source(nodes, imported, node)
    dtype = node.attrs["T"] if "T" in node.attrs else _attr("type", 1)
    if not np.any(offset):
        attrs: dict[str, Any] = {"T": dtype}
        nodes[node.name] = replace(node, op="Identity", inputs=(source,), attrs=attrs)
        return
    added = _constant(_free(nodes, f"{node.name}/folded"), offset, np.dtype("<f4"), node.source)
    nodes[added.name] = added
    attrs = {"T": dtype, "data_format": _attr("s", b"NHWC")}
    inputs = (source, f"{added.name}:0")
    nodes[node.name] = replace(node, op="BiasAdd", inputs=inputs, attrs=attrs)


def _source(nodes: Mapping[str, TfNode], imported: Imported, node: TfNode) -> str:
    """The tensor that a batch norm, perhaps a chain of ops, normalizes."""
    results = imported.importer.results
    while True:
        tensor = next(t for t in node.inputs if isinstance(results.get(t), Value))
        value = results[tensor]
        assert isinstance(value, Value)
        if value.affine is None:
            return tensor
        node = nodes[owner(tensor)]


def _set_constant(nodes: dict[str, TfNode], origin: Origin, array: Array) -> None:
    """Give the input of a node a new value, under the old name where nobody else reads it."""
    reader = nodes[origin.reader]
    path = [reader.inputs[origin.index]]
    while nodes[owner(path[-1])].op == "Identity":
        path.append(nodes[owner(path[-1])].inputs[0])
    old = nodes[owner(path[-1])]
    readers = [tensor for node in nodes.values() for tensor in node.inputs]
    if old.op == "Const" and all(readers.count(tensor) == 1 for tensor in path):
        nodes[old.name] = _constant(old.name, array, origin.array.dtype, old.source)
        return
    made = _constant(
        _free(nodes, f"{reader.name}/folded"), array, origin.array.dtype, reader.source
    )
    nodes[made.name] = made
    inputs = list(reader.inputs)
    inputs[origin.index] = f"{made.name}:0"
    nodes[reader.name] = replace(reader, inputs=tuple(inputs))


def _constant(name: str, array: Array, dtype: np.dtype[Any], source: str) -> TfNode:
    code = next(code for code, (known, _) in DTYPES.items() if known == dtype)
    value = new("AttrValue")
    value.tensor.dtype = code
    value.tensor.tensor_shape.SetInParent()
    for size in array.shape:
        value.tensor.tensor_shape.dim.add(size=size)
    value.tensor.tensor_content = np.ascontiguousarray(array, dtype).tobytes()
    return TfNode(name, "Const", (), source, {"dtype": _attr("type", code), "value": value})


def _attr(kind: str, content: object) -> Any:
    value = new("AttrValue")
    setattr(value, kind, content)
    return value


def _free(nodes: Mapping[str, TfNode], wanted: str) -> str:
    name, number = wanted, 1
    while name in nodes:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _without_unused(before: Mapping[str, TfNode], after: Mapping[str, TfNode]) -> dict[str, TfNode]:
    """The nodes without those that only the batch norms needed."""
    read = {owner(tensor) for node in before.values() for tensor in node.inputs}
    read.update(name for node in before.values() for name in node.controls)
    ends = [f"{name}:0" for name in before if name not in read]
    reached = set(ancestors(after, ends))
    pending = list(reached)
    while pending:
        for name in after[pending.pop()].controls:
            more = set(ancestors(after, [f"{name}:0"])) - reached if name in after else set()
            reached |= more
            pending += more
    return {name: node for name, node in after.items() if name in reached}


def _graph_def(nodes: Iterable[TfNode], path: Path) -> bytes:
    """The nodes as GraphDef, with the versions and functions of the file they come from."""
    original = parse("GraphDef", read_bytes(path), path.name)
    made = new("GraphDef")
    made.library.CopyFrom(original.library)
    made.versions.CopyFrom(original.versions)
    for node in nodes:
        proto = made.node.add(name=node.name, op=node.op)
        proto.input.extend(tensor.removesuffix(":0") for tensor in node.inputs)
        proto.input.extend(f"^{name}" for name in node.controls)
        for key, value in node.attrs.items():
            proto.attr[key].CopyFrom(value)
    content: bytes = made.SerializeToString(deterministic=True)
    return content
