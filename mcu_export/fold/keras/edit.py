"""The configuration of a model without some of its layers, in the order that Keras gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from mcu_export.fold.keras.order import layer_order
from mcu_export.loaders.keras.config import MODEL_CLASSES, ModelSpec, parse_model
from mcu_export.loaders.keras.files import Json
from mcu_export.loaders.keras.weights import LayerPath

Place = list[Any]
"""``[layer, use, tensor]``, as Keras refers to a tensor."""


def without_layers(
    data: Json, removed: Set[LayerPath], biased: Set[LayerPath], path: LayerPath = ()
) -> Json:
    """``data``, a serialized model, less the layers ``removed``; nothing is changed in place.

    Args:
        data: the model, as Keras 3 serializes it.
        removed: layers with one input, which takes the place of their output.
        biased: layers that get a bias.
        path: names of the models around it.
    """
    config = data["config"]
    items = {_name(item): item for item in config["layers"]}
    gone = {
        name: [next(_places(use)) for use in item.get("inbound_nodes", ())]
        for name, item in items.items()
        if (*path, name) in removed
    }
    nested = {
        name
        for name, item in items.items()
        if item["class_name"] in MODEL_CLASSES and item["class_name"] != "Sequential"
    }
    layers = []
    for name, item in items.items():
        if name in gone:
            continue
        here = (*path, name)
        changed = _with_bias(item) if here in biased else item
        if item["class_name"] in MODEL_CLASSES:
            changed = without_layers(item, removed, biased, here)
        if "inbound_nodes" in item:
            changed = {**changed, "inbound_nodes": _rewired(item["inbound_nodes"], gone)}
        layers.append(changed)
    ends = {k: _rewired(config[k], gone, nested) for k in ("output_layers",) if k in config}
    return {**data, "config": {**config, "layers": layers, **ends}}


def in_keras_order(data: Json, where: str) -> Json:
    """``data`` with the layers of each model in the order in which Keras has them once loaded.

    The weights are stored by that order.
    """
    return _ordered(data, parse_model(data, where))


def _ordered(data: Json, model: ModelSpec) -> Json:
    config = data["config"]
    inside = {layer.name: layer.model for layer in model.layers if layer.model is not None}
    items = {_name(item): item for item in config["layers"]}
    items = {n: _ordered(item, inside[n]) if n in inside else item for n, item in items.items()}
    order = list(items) if data["class_name"] == "Sequential" else layer_order(model)
    return {**data, "config": {**config, "layers": [items[name] for name in order]}}


def _name(item: Json) -> str:
    return str(item.get("name") or item["config"]["name"])


def _with_bias(item: Json) -> Json:
    config = item["config"]
    if "layer" in config:  # a wrapper
        return {**item, "config": {**config, "layer": _with_bias(config["layer"])}}
    return {**item, "config": {**config, "use_bias": True}}


def _place(value: Any) -> Place | None:
    """The tensor that ``value`` refers to in one of the two ways of Keras; else None."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return list(value["config"]["keras_history"])
    if isinstance(value, list) and 3 <= len(value) <= 4 and isinstance(value[0], str):
        return value[:3] if isinstance(value[1], int) and isinstance(value[2], int) else None
    return None


def _places(value: Any) -> Iterator[Place]:
    """All tensors in a nested structure, in order."""
    place = _place(value)
    if place is not None:
        yield place
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _places(child)


def _rewired(value: Any, gone: Mapping[str, list[Place]], from_1: Set[str] = frozenset()) -> Any:
    """``value`` where what referred to a layer that is gone refers to that layer's input.

    Args:
        value: a nested structure with references in it.
        gone: for each layer that is gone the input of each use.
        from_1: layers whose uses count from 1 here. Keras does so with nested Functional models
            where it names the outputs.
    """
    place = _place(value)
    if place is None and isinstance(value, dict):
        return {key: _rewired(child, gone, from_1) for key, child in value.items()}
    if place is None and isinstance(value, list):
        return [_rewired(child, gone, from_1) for child in value]
    if place is None or place[0] not in gone:
        return value
    while place[0] in gone:
        place = gone[place[0]][place[1]]
    if place[0] in from_1:
        place = [place[0], place[1] + 1, place[2]]
    if isinstance(value, dict):
        return {**value, "config": {**value["config"], "keras_history": place}}
    return [*place, *value[3:]]
