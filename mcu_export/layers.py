"""``verify --layers``: reference, host and board side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.build import Target, pack_inputs, run_stream
from mcu_export.exported import Exported
from mcu_export.graph import shape_text
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantNode
from mcu_export.verify import Compared, Difference, difference, walk


@dataclass(frozen=True)
class LayerRow:
    """A layer; ``mismatches`` counts by board the integers that differ from the reference."""

    name: str
    op: str
    shape: tuple[int, ...]
    format: str
    compared: int
    mismatches: Mapping[str, int]


@dataclass(frozen=True)
class FirstDifference:
    """Where it begins to differ: earliest sample, in it the earliest layer.

    What the layer reads is right, then: it is the one to look at.

    Attributes:
        board: where it differs.
        difference: sample, layer, flat index, integers.
        place: the index by axes, as ``[3,0,17]``.
        format: of the layer's output, with the real values of both integers.
    """

    board: str
    difference: Difference
    place: str
    format: str
    got_real: float
    expected_real: float

    def text(self) -> str:
        """For a human."""
        d = self.difference
        return (
            f"{self.board}: sample {d.sample}, layer {d.layer} ({d.op}), element {self.place}: "
            f"got {d.got} ({self.got_real:g}), the reference has {d.expected} "
            f"({self.expected_real:g}), {self.format}; all layers before it are right"
        )


@dataclass(frozen=True)
class LayerReport:
    """All layers on all boards; its fields are keys of ``verify --layers --json``."""

    boards: tuple[str, ...]
    samples: int
    layers: tuple[LayerRow, ...]
    first_difference: FirstDifference | None

    @property
    def mismatches(self) -> int:
        """Integers that differ, on all boards."""
        return sum(sum(row.mismatches.values()) for row in self.layers)


def compare_layers(
    exported: Exported, inputs: Mapping[str, Array], targets: Sequence[Target]
) -> LayerReport:
    """Compile and run the export on every target and compare each layer.

    Args:
        exported: the export.
        inputs: integers for each input, (samples, *shape).
        targets: where to run.

    Raises:
        ToolchainError: it does not compile or run.
    """
    dtypes = {key: fmt.dtype for key, fmt in exported.quant.formats().items()}
    packed = pack_inputs(inputs, dtypes)
    traces = {t.board: run_stream(exported.folder, exported.name, t, packed).trace for t in targets}
    return layer_report(exported, inputs, traces)


def layer_report(
    exported: Exported, inputs: Mapping[str, Array], traces: Mapping[str, bytes]
) -> LayerReport:
    """The comparison of traces (by board) with the reference."""
    nodes = {node.name: node for node in exported.quant.nodes}
    counts = {name: dict.fromkeys(traces, 0) for name in exported.layers}
    compared = dict.fromkeys(exported.layers, 0)
    first: FirstDifference | None = None
    for board, trace in traces.items():
        for one in walk(exported, inputs, trace):
            compared[one.layer] += one.expected.size
            counts[one.layer][board] += int(one.different.sum())
            if one.different.any():
                found = _first(board, one, nodes[one.layer])
                if first is None or found.difference.sample < first.difference.sample:
                    first = found
    rows = tuple(
        LayerRow(
            name,
            nodes[name].node.op.kind,
            nodes[name].node.shape,
            nodes[name].format.text(),
            compared[name] // len(traces),
            counts[name],
        )
        for name in exported.layers
    )
    samples = len(next(iter(inputs.values())))
    return LayerReport(tuple(traces), samples, rows, first)


def _first(board: str, one: Compared, node: QuantNode) -> FirstDifference:
    d = difference(one, node.node.op.kind)
    got, expected = node.format.dequantize(np.array([d.got, d.expected]))
    place = tuple(int(i) for i in np.unravel_index(d.index, node.node.shape))
    return FirstDifference(
        board, d, shape_text(place), node.format.text(), float(got), float(expected)
    )
