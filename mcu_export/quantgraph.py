"""The quantized network: the float graph with integers, formats and arithmetic beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcu_export.graph import Graph, Node
from mcu_export.ops.base import Array
from mcu_export.schemes.arithmetic import Arithmetic
from mcu_export.schemes.formats import Format


@dataclass(frozen=True, eq=False)
class QuantNode:
    """One layer in integers.

    Attributes:
        node: the float layer.
        format: of the output.
        arithmetic: how the output is computed.
        params: integer constants (int64 arrays) by the roles of ``node.params``.
        param_formats: their formats.
    """

    node: Node
    format: Format
    arithmetic: Arithmetic
    params: Mapping[str, Array]
    param_formats: Mapping[str, Format]

    @property
    def name(self) -> str:
        """Name of the layer and of the value it computes."""
        return self.node.name


@dataclass(frozen=True, eq=False)
class QuantGraph:
    """A network in integers.

    Attributes:
        graph: the float network after the passes.
        scheme: name of the number scheme (``q7``, ``q15``).
        input_formats: format of each graph input.
        nodes: the layers, in the order of ``graph.nodes``.
    """

    graph: Graph
    scheme: str
    input_formats: Mapping[str, Format]
    nodes: tuple[QuantNode, ...]

    def formats(self) -> dict[str, Format]:
        """Format of every value, graph inputs first."""
        known = dict(self.input_formats)
        known.update((node.name, node.format) for node in self.nodes)
        return known
