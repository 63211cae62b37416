"""The order of the layers of a Functional model, as ``keras.src.ops.function.map_graph`` has it.

A loaded model does not keep the order of its file: Keras sorts the layers by their distance from
the outputs, and those at the same distance by when a walk from the outputs first meets them. The
weights of the second ``Conv2D`` in that order are stored under ``conv2d_1``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcu_export.loaders.keras.config import ModelSpec

UseKey = tuple[str, int]
"""A layer and which of its uses."""


def layer_order(model: ModelSpec) -> list[str]:
    """Names of the layers that the outputs need, and of the inputs, in the order of Keras."""
    finished, met = _walk(model)
    parents = _parents(model)
    depth: dict[UseKey, int] = {}
    layer_depth: dict[str, int] = {}
    for use in reversed(finished):
        name = use[0]
        deepest = max(depth.setdefault(use, 0), layer_depth.get(name, 0))
        depth[use] = layer_depth[name] = deepest
        for parent in parents[use]:
            depth[parent] = max(deepest + 1, depth.get(parent, 0))
    for ref in model.inputs:
        if ref.layer not in layer_depth:
            layer_depth[ref.layer], met[ref.layer] = 0, -1
    return sorted(layer_depth, key=lambda name: (-layer_depth[name], met[name]))


def _parents(model: ModelSpec) -> dict[UseKey, list[UseKey]]:
    return {
        (layer.name, number): [(ref.layer, ref.use) for ref in use.inputs]
        for layer in model.layers
        for number, use in enumerate(layer.uses)
    }


def _walk(model: ModelSpec) -> tuple[list[UseKey], dict[str, int]]:
    """All uses, inputs before outputs, and for each layer the number at which it is met."""
    parents = _parents(model)
    finished: dict[UseKey, None] = {}
    met: dict[str, int] = {}
    for ref in model.outputs:
        stack: list[tuple[UseKey, Iterator[UseKey]]] = []
        following: UseKey | None = (ref.layer, ref.use)
        while following is not None or stack:
            if following is not None:
                if following not in finished:
                    met.setdefault(following[0], len(met))
                    stack.append((following, iter(parents[following])))
                following = None
                continue
            following = next(stack[-1][1], None)
            if following is None:
                finished[stack.pop()[0]] = None
    return list(finished), met
