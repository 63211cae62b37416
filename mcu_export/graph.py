"""The float network that loaders make and passes rewrite.

A :class:`Graph` is a list of nodes in topological order. Every node computes one value, and the
value bears the node's name. Shapes never contain the batch; images are laid out H, W, C. Nothing
here can be changed in place: a pass returns a new graph.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from mcu_export.errors import InternalError
from mcu_export.ops.base import Array, Op, Params, Shape
from mcu_export.trained_formats import TrainedFormats


def _read_only(content: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(content)


# A search sends networks to other processes; Python does not know how to pickle a read-only view.
copyreg.pickle(MappingProxyType, lambda view: (_read_only, (dict(view),)))

NO_PARAMS: Params = MappingProxyType({})
NO_DETAILS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Tensor:
    """A graph input: its name and its shape without the batch."""

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Node:
    """One layer.

    Attributes:
        name: unique in the graph; also the name of the value that the node computes.
        op: what is computed; a frozen dataclass of :mod:`mcu_export.ops`.
        inputs: names of nodes or graph inputs.
        shape: shape of the output, without the batch.
        params: float constants by role: ``weights``, ``bias``, ``gamma`` and so on.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: Shape
    params: Params = field(default_factory=lambda: NO_PARAMS)


@dataclass(frozen=True)
class Fold:
    """A batch normalization that went into a layer, and what that changed in float.

    ``difference`` is the largest absolute difference of the outputs on random inputs, relative to
    the largest absolute output.
    """

    batch_norm: str
    into: str
    epsilon: float
    difference: float


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: inputs, nodes in topological order, and the names of its outputs.

    ``details`` holds what a loader wants in the manifest (the format of the file, the parameters
    of an audio front end that was cut off) and ``folds`` what the folding pass did; neither
    changes what is computed. ``trained`` are the formats of a network that was trained for them.
    """

    inputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=lambda: NO_DETAILS)
    folds: tuple[Fold, ...] = ()
    trained: TrainedFormats | None = None

    def node(self, name: str) -> Node:
        """The node of that name; ``KeyError`` where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def shapes(self) -> dict[str, Shape]:
        """Shape of every value, graph inputs first."""
        known = {tensor.name: tensor.shape for tensor in self.inputs}
        known.update((node.name, node.shape) for node in self.nodes)
        return known

    def consumers(self) -> dict[str, list[Node]]:
        """For every value the nodes that read it, in order."""
        readers: dict[str, list[Node]] = {name: [] for name in self.shapes()}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return readers

    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        shapes = self.shapes()
        return sum(node_macs(node, shapes) for node in self.nodes)

    def parameters(self) -> int:
        """Number of trained constants."""
        return sum(int(np.size(array)) for node in self.nodes for array in node.params.values())


def make_node(
    name: str,
    op: Op,
    inputs: Iterable[str],
    shapes: Mapping[str, Shape],
    params: Params = NO_PARAMS,
) -> Node:
    """A node whose output shape is inferred from ``shapes`` of its inputs.

    Raises:
        UnsupportedLayerError: the op cannot take these shapes.
    """
    inputs = tuple(inputs)
    shape = op.infer(tuple(shapes[i] for i in inputs), params)
    return Node(name, op, inputs, shape, MappingProxyType(dict(params)))


def node_macs(node: Node, shapes: Mapping[str, Shape]) -> int:
    """Multiply-accumulates that the node does for one inference."""
    return node.op.macs(tuple(shapes[i] for i in node.inputs), node.shape, node.params)


def rebuild(graph: Graph, nodes: Iterable[Node], renamed: Mapping[str, str] | None = None) -> Graph:
    """``graph`` with other nodes; names in ``renamed`` are replaced wherever they are read."""
    new_name = dict(renamed or {})

    def resolve(name: str) -> str:
        while name in new_name:
            name = new_name[name]
        return name

    rewired = tuple(replace(n, inputs=tuple(map(resolve, n.inputs))) for n in nodes)
    return replace(graph, nodes=rewired, outputs=tuple(map(resolve, graph.outputs)))


def run_float(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of the float network for a batch of inputs, in the dtype of the inputs.

    Args:
        graph: the network.
        inputs: for each graph input an array of shape (samples, *shape).
    """
    values: dict[str, Array] = {t.name: np.asarray(inputs[t.name]) for t in graph.inputs}
    for node in graph.nodes:
        dtype = values[node.inputs[0]].dtype
        params = {key: np.asarray(array, dtype) for key, array in node.params.items()}
        values[node.name] = node.op.compute([values[i] for i in node.inputs], params)
    return values


def check(graph: Graph, after: str) -> Graph:
    """The graph itself, once its promises are seen to hold.

    Names are unique, nodes are in topological order, every recorded shape is what the op infers,
    every constant is finite.

    Raises:
        InternalError: a stage (named by ``after``) broke one of them.
    """
    known = {tensor.name: tensor.shape for tensor in graph.inputs}
    for node in graph.nodes:
        where = f"{after}: layer {node.name!r} ({node.op.kind})"
        if node.name in known:
            raise InternalError("two values have the same name", where=where)
        for name in node.inputs:
            if name not in known:
                raise InternalError(f"reads {name!r} before it is computed", where=where)
        inferred = node.op.infer(tuple(known[i] for i in node.inputs), node.params)
        if inferred != node.shape:
            raise InternalError(f"shape {node.shape}, op infers {inferred}", where=where)
        for key, array in node.params.items():
            if not np.all(np.isfinite(array)):
                raise InternalError(f"constant {key!r} is not finite", where=where)
        known[node.name] = node.shape
    for name in graph.outputs:
        if name not in known:
            raise InternalError(f"output {name!r} does not exist", where=after)
    return graph


def dump(graph: Graph) -> str:
    """Stable text of the graph, one line per node; what ``--dump`` writes and tests pin."""
    lines = [f"input  {t.name} {shape_text(t.shape)}" for t in graph.inputs]
    for node in graph.nodes:
        params = " ".join(f"{k}{shape_text(np.shape(a))}" for k, a in sorted(node.params.items()))
        lines.append(
            f"node   {node.name} = {node.op.text()}({', '.join(node.inputs)}) "
            f"{shape_text(node.shape)}{' ' + params if params else ''}"
        )
    lines += [f"output {name}" for name in graph.outputs]
    return "\n".join(lines) + "\n"


def shape_text(shape: Shape) -> str:
    """``[49,10,1]`` for (49, 10, 1)."""
    return "[" + ",".join(str(size) for size in shape) + "]"
