"""Which layers of a Keras file take which batch norms in.

The graph says which use of a batch norm can go into which use of a layer. A layer has one set of
weights for all its uses, so a batch norm vanishes only where every use of it and every use of
the layer agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mcu_export.errors import UnsupportedLayerError
from mcu_export.fold.base import LayerFold, plan_folds
from mcu_export.loaders.keras.build import Built
from mcu_export.loaders.keras.config import LayerSpec, ModelSpec
from mcu_export.loaders.keras.model import KerasFile
from mcu_export.loaders.keras.weights import LayerPath
from mcu_export.ops import Op

KERNELS = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D"), "kernel"),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose"), "kernel"),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), "depthwise_kernel"),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "pointwise_kernel"),
}
"""The weight that takes the scale, by class."""

NOT_BEHIND_A_LAYER = "not right after a layer of its own with weights"
USED_ELSEWHERE = "it or the layer before it has other uses, which do not allow it"


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """Batch norms that go into the weights of one layer.

    Attributes:
        path: the layer.
        layer: its specification; of a wrapper, the layer inside.
        op: what it is in the graph.
        batch_norms: layers that vanish.
        fold: scale and offset, one for each output channel.
    """

    path: LayerPath
    layer: LayerSpec
    op: Op
    batch_norms: tuple[LayerPath, ...]
    fold: LayerFold


def layers_by_path(model: ModelSpec, path: LayerPath = ()) -> Iterator[tuple[LayerPath, LayerSpec]]:
    """All layers that are no models, each with the names of the models around it and its own."""
    for layer in model.layers:
        if layer.model is None:
            yield (*path, layer.name), layer.wrapped or layer
        else:
            yield from layers_by_path(layer.model, (*path, layer.name))


def plan_layers(built: Built, file: KerasFile) -> tuple[list[LayerPlan], dict[str, str]]:
    """What can be folded, and the batch norms that stay, with the reason."""
    _require_no_model_per_step(file.model, file.where)
    layers = dict(layers_by_path(file.model))
    planned = _one_for_each_layer(built, layers, _stored_once(layers, file))
    uses = Counter(call.path for call in built.calls)
    while True:
        covered = Counter(
            norm for plan in planned for norm in plan.batch_norms for _ in range(uses[plan.path])
        )
        emptied = _emptied(file.model, set(covered))
        fitting = [
            plan
            for plan in planned
            if all(covered[n] == uses[n] and n[:-1] not in emptied for n in plan.batch_norms)
        ]
        if len(fitting) == len(planned):
            break
        planned = fitting
    gone = {norm for plan in planned for norm in plan.batch_norms}
    wanted = {item.batch_norms[-1] for item in plan_folds(built.graph)}
    kept = {
        "/".join(call.path): USED_ELSEWHERE if wanted & set(call.nodes) else NOT_BEHIND_A_LAYER
        for call in built.calls
        if layers[call.path].class_name == "BatchNormalization" and call.path not in gone
    }
    return planned, kept


def _require_no_model_per_step(model: ModelSpec, where: str) -> None:
    for layer in model.layers:
        if layer.wrapped is not None and layer.wrapped.model is not None:
            raise UnsupportedLayerError(
                "a model under TimeDistributed cannot be written again",
                where=f"{where}: layer {layer.name!r} ({layer.class_name})",
                fix="use `mcu-export export`, which folds the batch norms inside of it",
            )
        if layer.model is not None:
            _require_no_model_per_step(layer.model, where)


def _one_for_each_layer(
    built: Built, layers: dict[LayerPath, LayerSpec], stored_once: set[LayerPath]
) -> list[LayerPlan]:
    """Plans for the layers all of whose uses are followed by the same batch norms."""
    makers = {node: call.path for call in built.calls for node in call.nodes}
    uses = Counter(call.path for call in built.calls)
    found: dict[LayerPath, list[LayerPlan]] = {}
    for item in plan_folds(built.graph):
        path = makers[item.layer]
        norms = tuple(makers[norm] for norm in item.batch_norms)
        op = built.graph.node(item.layer).op
        found.setdefault(path, []).append(LayerPlan(path, layers[path], op, norms, item))
    return [
        plans[0]
        for path, plans in found.items()
        if len(plans) == uses[path]
        and len({plan.batch_norms for plan in plans}) == 1
        and path in stored_once
        and any(layers[norm].class_name == "BatchNormalization" for norm in plans[0].batch_norms)
    ]


def _stored_once(layers: dict[LayerPath, LayerSpec], file: KerasFile) -> set[LayerPath]:
    """The layers whose weights are not those of a layer in another model as well."""
    arrays = {
        path: id(file.weights.array(path, KERNELS[layer.class_name]))
        for path, layer in layers.items()
        if layer.class_name in KERNELS
    }
    counts = Counter(arrays.values())
    return {path for path, array in arrays.items() if counts[array] == 1}


def _emptied(model: ModelSpec, gone: set[LayerPath], path: LayerPath = ()) -> set[LayerPath]:
    """The models of which nothing would be left."""
    found = set()
    for layer in model.layers:
        if layer.model is not None:
            found |= _emptied(layer.model, gone, (*path, layer.name))
    left = (layer for layer in model.layers if layer.class_name != "InputLayer")
    if all((*path, layer.name) in gone for layer in left):
        found.add(path)
    return found
