"""Layers in integers on a batch of samples; only those that changed run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.graph import Graph, run_float
from mcu_export.ops import Array
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.simulate import quantize_float32, simulate_layer

# The first batch has every eighth sample, where these are enough.
FIRST, LEAST_FIRST = 8, 8


@dataclass(frozen=True, eq=False)
class Ran:
    """A layer as it was run: its integers, its inputs and its output (integers in float32)."""

    layer: QuantNode
    inputs: list[Array]
    output: Array

    def same(self, layer: QuantNode, inputs: list[Array]) -> bool:
        """Whether running ``layer`` on ``inputs`` would be this again."""
        return layer is self.layer and all(a is b for a, b in zip(inputs, self.inputs, strict=True))


Runs = Mapping[str, Ran]
NO_RUNS: Runs = {}


class Batch:
    """Some samples; ``real`` are the values of the float network on them."""

    def __init__(self, graph: Graph, samples: Mapping[str, Array]) -> None:
        self.count = len(next(iter(samples.values())))
        self.real = run_float(graph, samples)
        self._samples = samples
        self._inputs: dict[tuple[str, PowerOfTwo], Array] = {}

    def run(
        self, layers: Sequence[QuantNode], formats: Mapping[str, PowerOfTwo], before: Runs
    ) -> dict[str, Ran]:
        """The layers, as they were ``before`` where that is the same.

        Args:
            layers: from the first on.
            formats: of all values.
            before: layers as they were run.
        """
        values = {name: self.input(name, formats[name]) for name in self._samples}
        runs: dict[str, Ran] = {}
        for layer in layers:
            inputs = [values[name] for name in layer.node.inputs]
            run = before.get(layer.name)
            if run is None or not run.same(layer, inputs):
                of_inputs = [formats[name] for name in layer.node.inputs]
                run = Ran(layer, inputs, simulate_layer(layer, inputs, of_inputs))
            runs[layer.name], values[layer.name] = run, run.output
        return runs

    def input(self, name: str, fmt: PowerOfTwo) -> Array:
        """An input of the network: integers in float32."""
        key = (name, fmt)
        if key not in self._inputs:
            self._inputs[key] = quantize_float32(self._samples[name], fmt)
        return self._inputs[key]


def in_batches(graph: Graph, samples: Mapping[str, Array]) -> tuple[Batch, ...]:
    """The samples in batches: every eighth, as many between them, every second of the others, ...

    Few samples are one batch.
    """
    count = len(next(iter(samples.values())))
    step = FIRST if count >= FIRST * LEAST_FIRST else 1
    offsets = [(step, 0)]
    while step > 1:
        offsets.append((step, step // 2))
        step //= 2
    return tuple(
        Batch(graph, {name: np.ascontiguousarray(x[offset::step]) for name, x in samples.items()})
        for step, offset in offsets
    )
