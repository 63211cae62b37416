"""Placeholders that are settings, not inputs: ``is_training``, the keep probability of a dropout.

Their names say nothing reliable, so they are tried: off and keep everything first. Where a
setting leaves the training form of a layer in the graph, the import fails, and the next is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from mcu_export.loaders.tf.nodes import TfGraph, TfNode, ancestors, owner
from mcu_export.ops import Array

INPUT_OPS = frozenset({"Placeholder", "PlaceholderWithDefault", "PlaceholderV2"})
# Ops that read an input of the network; a setting goes into arithmetic.
_DATA_READERS = frozenset(
    {"Reshape", "Conv2D", "DepthwiseConv2dNative", "MatMul", "ExpandDims", "Pad", "DecodeWav"}
)

_BOOL = 10
_FLOATS = frozenset({1, 2, 19})


def settings(graph: TfGraph) -> Iterator[dict[str, Array]]:
    """Values of the settings that the outputs need, by tensor, the likeliest first.

    A flag is off, then on. A number is 1 (a keep probability), then 0 (a drop rate). A default
    in the graph goes before both. Without settings this is one empty dict.
    """
    found = _settings_of(graph)
    flags = {f"{node.name}:0" for node in found if _dtype_code(node) == _BOOL}
    numbers = {f"{node.name}:0" for node in found} - flags
    use_defaults = (None,) if all(node.inputs for node in found) else ()
    flag_values = (*use_defaults, False, True) if flags else (None,)
    number_values = (*use_defaults, 1.0, 0.0) if numbers else (None,)
    for flag, number in product(flag_values, number_values):
        chosen: dict[str, Array] = {}
        if flag is not None:
            chosen.update((tensor, np.asarray(flag)) for tensor in flags)
        if number is not None:
            chosen.update((tensor, np.asarray(number, np.float32)) for tensor in numbers)
        yield chosen


def _settings_of(graph: TfGraph) -> list[TfNode]:
    """The placeholders that the outputs need and that are settings."""
    needed = ancestors(graph.nodes, graph.outputs).values()
    readers = [(owner(tensor), node.op) for node in needed for tensor in node.inputs]
    data = {name for name, op in readers if op in _DATA_READERS}
    placeholders = [node for node in needed if node.op in INPUT_OPS]
    inputs = [node for node in placeholders if node.shape("shape") or node.name in data]
    return [
        node
        for node in placeholders
        if _dtype_code(node) == _BOOL
        or (_dtype_code(node) in _FLOATS and inputs and node not in inputs)
    ]


def _dtype_code(node: TfNode) -> int:
    return int(node.attrs["dtype"].type) if "dtype" in node.attrs else 0
