"""Passes that move and drop reshapes, so that what computes stands next to what it follows."""

from __future__ import annotations

from dataclasses import replace

from mcu_export.graph import Graph, Node, rebuild
from mcu_export.ops import BatchNorm, Clamp, Reshape


def sink_reshapes(graph: Graph) -> Graph:
    """Move each reshape behind the element-wise layers that follow it.

    A convolution over a sequence is loaded as reshape, conv2d, reshape; with the last reshape
    behind the batch norm and the activation, those meet their convolution and can be fused.
    """
    while True:
        moved = _sink_one(graph)
        if moved is graph:
            return graph
        graph = moved


def _sink_one(graph: Graph) -> Graph:
    consumers = graph.consumers()
    by_name = {node.name: node for node in graph.nodes}
    shapes = graph.shapes()
    for node in graph.nodes:
        before = by_name.get(node.inputs[0])
        if before is None or not isinstance(before.op, Reshape) or before.name in graph.outputs:
            continue
        if len(consumers[before.name]) != 1 or not _commutes(node, shapes[before.inputs[0]]):
            continue
        # The layer keeps its name, for people to find it; who read it now reads the reshape.
        inner = replace(node, inputs=before.inputs, shape=shapes[before.inputs[0]])
        outer = replace(before, inputs=(inner.name,), shape=node.shape)
        readers = rebuild(graph, graph.nodes, {node.name: before.name})
        swapped = {before.name: inner, node.name: outer}
        return replace(readers, nodes=tuple(swapped.get(n.name, n) for n in readers.nodes))
    return graph


def _commutes(node: Node, source: tuple[int, ...]) -> bool:
    """Whether ``node`` gives the same on the tensor before the reshape."""
    if isinstance(node.op, Clamp):
        return True
    return isinstance(node.op, BatchNorm) and source[-1] == node.shape[-1]


def merge_reshapes(graph: Graph) -> Graph:
    """Join reshapes in a row and drop those that change nothing."""
    shapes = graph.shapes()
    by_name = {node.name: node for node in graph.nodes}
    nodes: list[Node] = []
    dropped: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Reshape):
            nodes.append(node)
            continue
        source = node.inputs[0]
        before = by_name.get(source)
        while before is not None and isinstance(before.op, Reshape):
            source = before.inputs[0]
            before = by_name.get(source)
        if shapes[source] == node.shape and node.name not in graph.outputs:
            dropped[node.name] = source
        else:
            nodes.append(node if source == node.inputs[0] else replace(node, inputs=(source,)))
    if not dropped and all(a is b for a, b in zip(nodes, graph.nodes, strict=True)):
        return graph
    read = {dropped.get(name, name) for node in nodes for name in node.inputs} | set(graph.outputs)
    return rebuild(graph, [n for n in nodes if n.name in read], dropped)
