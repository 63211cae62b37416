"""What every loader uses: a builder of graphs, and limits for what a file may contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mcu_export.errors import McuExportError, ModelFileError
from mcu_export.graph import Graph, Node, Tensor, check, make_node
from mcu_export.ops.base import Array, Op, Shape

MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_ELEMENTS = 64 * 1024 * 1024
MAX_NODES = 20_000


class GraphBuilder:
    """Collects inputs and nodes in order, infers shapes, makes names unique.

    Loaders call :meth:`input`, :meth:`add` and :meth:`finish`. Every error of an op is reported
    with the file and the layer that caused it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.inputs: list[Tensor] = []
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}

    def where(self, layer: str, kind: str) -> str:
        """``file: layer 'name' (kind)``, for error messages."""
        return f"{self.source}: layer {layer!r} ({kind})"

    def unique(self, wanted: str) -> str:
        """``wanted``, or ``wanted_2``, ``wanted_3`` ... where it is taken."""
        name, count = wanted, 1
        while name in self.shapes:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def input(self, name: str, shape: Shape) -> str:
        """A graph input; returns the name of its value."""
        name = self.unique(name)
        if any(size < 1 for size in shape) or not shape:
            raise ModelFileError(
                f"input {name!r} has the shape {shape}; every size must be known and positive",
                where=self.source,
                fix="save the model with a fixed input shape (only the batch may be unknown)",
            )
        self.inputs.append(Tensor(name, shape))
        self.shapes[name] = shape
        return name

    def add(
        self, name: str, op: Op, inputs: list[str], params: Mapping[str, Array] | None = None
    ) -> str:
        """A node; returns the name of its value.

        Raises:
            UnsupportedLayerError: the op cannot take these inputs.
        """
        constants = {key: np.asarray(array, np.float32) for key, array in (params or {}).items()}
        where = self.where(name, op.kind)
        for key, array in constants.items():
            if not np.all(np.isfinite(array)):
                raise ModelFileError(
                    f"the {key} contain NaN or infinity",
                    where=where,
                    fix="the training diverged; export a checkpoint from before that",
                )
        try:
            node = make_node(self.unique(name), op, inputs, self.shapes, constants)
        except McuExportError as error:
            error.where = error.where or where
            raise
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ModelFileError(
                f"the layer's attributes and weights do not fit together: {error}", where=where
            ) from error
        self.nodes.append(node)
        self.shapes[node.name] = node.shape
        return node.name

    def made(self, name: str) -> Node | None:
        """The node that computes a value; None for an input."""
        return next((node for node in reversed(self.nodes) if node.name == name), None)

    def finish(self, outputs: list[str], details: Mapping[str, Any]) -> Graph:
        """The graph, checked, with only the nodes that the outputs need."""
        if not outputs or not self.nodes:
            raise ModelFileError("the model has no layers or no output", where=self.source)
        needed = set(outputs)
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        kept = tuple(node for node in self.nodes if node.name in needed)
        graph = Graph(tuple(self.inputs), kept, tuple(outputs), dict(details))
        return check(graph, f"load {self.source}")
