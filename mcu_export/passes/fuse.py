"""Passes that put a layer into its neighbor where the result is exactly the same."""

from __future__ import annotations

from dataclasses import fields, replace

from mcu_export.graph import Graph, Node, rebuild
from mcu_export.ops import Clamp, Conv2D, DepthwiseConv2D, Pad, Padding


def fuse_activation(graph: Graph) -> Graph:
    """Put an activation that only limits (ReLU, ReLU6, clip) into the layer before it."""
    consumers = graph.consumers()
    by_name = {node.name: node for node in graph.nodes}
    dropped: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Clamp):
            continue
        source = dropped.get(node.inputs[0], node.inputs[0])
        before = by_name.get(source)
        if before is None or not _takes_limits(before):
            continue
        if len(consumers[node.inputs[0]]) != 1 or node.inputs[0] in graph.outputs:
            continue
        limits = node.op.limits.within(before.op.limits)  # type: ignore[attr-defined]
        by_name[source] = replace(before, op=replace(before.op, limits=limits))  # type: ignore[call-arg]
        dropped[node.name] = source
    return _without(graph, by_name, dropped)


def _takes_limits(node: Node) -> bool:
    return any(f.name == "limits" for f in fields(node.op))


def fuse_pad(graph: Graph) -> Graph:
    """Put explicit zero padding into the convolution that reads it."""
    consumers = graph.consumers()
    by_name = {node.name: node for node in graph.nodes}
    dropped: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Conv2D | DepthwiseConv2D):
            continue
        before = by_name.get(node.inputs[0])
        if before is None or not isinstance(before.op, Pad) or before.name in graph.outputs:
            continue
        if len(consumers[before.name]) != 1 or before.op.value:
            continue
        own, extra = node.op.padding, before.op.padding
        padding = Padding(
            own.top + extra.top,
            own.bottom + extra.bottom,
            own.left + extra.left,
            own.right + extra.right,
        )
        by_name[node.name] = replace(node, op=replace(node.op, padding=padding))
        dropped[before.name] = before.inputs[0]
    return _without(graph, by_name, dropped)


def _without(graph: Graph, by_name: dict[str, Node], dropped: dict[str, str]) -> Graph:
    """The graph with the nodes of ``by_name``, less those that were put into another."""
    if not dropped:
        return graph
    # A dropped graph output lives on under the name of the layer that took it in.
    kept = [by_name[node.name] for node in graph.nodes if node.name not in dropped]
    return rebuild(graph, kept, dropped)
