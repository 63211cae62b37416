"""What a kernel costs: an estimate of instructions on a Cortex-M4.

The numbers in the tables of kernels are fitted to what QEMU counts, see ``tests/bench/costs.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcu_export.graph import Node, node_macs
from mcu_export.ops import AveragePool2D, MaxPool2D, Shape, elements


@dataclass(frozen=True)
class Work:
    """What a layer has to do for an inference.

    Attributes:
        macs: multiply-accumulates.
        inputs: elements of the first input.
        outputs: elements of the output.
        windows: elements of all windows: what a pooling reads, or a conv for one output channel.
    """

    macs: int
    inputs: int
    outputs: int
    windows: int


def work_of(node: Node, shapes: Mapping[str, Shape]) -> Work:
    """The work of a node; ``shapes`` are those of all values."""
    macs, outputs = node_macs(node, shapes), elements(node.shape)
    if isinstance(node.op, AveragePool2D | MaxPool2D):
        windows = outputs * elements(node.op.kernel)
    else:
        windows = macs // (node.shape or (1,))[-1]
    return Work(macs, elements(shapes[node.inputs[0]]), outputs, windows)


@dataclass(frozen=True)
class Cost:
    """Instructions for each MAC, each input, output and window element; all zero: not known."""

    per_mac: float = 0
    per_input: float = 0
    per_output: float = 0
    per_window: float = 0

    def __add__(self, other: Cost) -> Cost:
        """The sum of two costs."""
        return Cost(
            self.per_mac + other.per_mac,
            self.per_input + other.per_input,
            self.per_output + other.per_output,
            self.per_window + other.per_window,
        )

    def __mul__(self, factor: float) -> Cost:
        """The cost of ``factor`` times the work."""
        return Cost(
            self.per_mac * factor,
            self.per_input * factor,
            self.per_output * factor,
            self.per_window * factor,
        )

    def instructions(self, work: Work) -> int:
        """The estimate for a layer."""
        return round(
            self.per_mac * work.macs
            + self.per_input * work.inputs
            + self.per_output * work.outputs
            + self.per_window * work.windows
        )


NO_COST = Cost()
