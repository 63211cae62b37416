"""From a parsed Keras model and its weights to the graph: each use of each layer, in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.loaders.keras.activations import ACTIVATIONS
from mcu_export.loaders.keras.config import LayerSpec, ModelSpec, Ref, Use
from mcu_export.loaders.keras.convolutions import CONVOLUTIONS
from mcu_export.loaders.keras.layer import MAX_VALUE_ELEMENTS, Handler, Layer
from mcu_export.loaders.keras.layers import LAYERS
from mcu_export.loaders.keras.moves import take
from mcu_export.loaders.keras.ops import OPERATIONS
from mcu_export.loaders.keras.shapes import PER_STEP, SHAPES
from mcu_export.loaders.keras.weights import LayerPath, Weights
from mcu_export.loaders.keras.windows import WINDOWS
from mcu_export.ops import Concatenate, Shape, elements

PASSED_STEPS = (
    *(name for name in ACTIVATIONS if name != "PReLU"),
    "Dense",
    "Dropout",
    *(name for name in (*CONVOLUTIONS, *WINDOWS) if "1D" in name),
)
"""Layers that do under TimeDistributed what they do without: an axis before theirs is no matter."""


STEP_BY_STEP = tuple(name for name in (*CONVOLUTIONS, *WINDOWS) if "2D" in name)
"""Layers on images, of which TimeDistributed makes one for each step."""


def _step_by_step(layer: Layer, value: str, apply: Callable[[Layer, str], str]) -> str:
    """``apply`` on each step for itself, and the results one after the other."""
    steps, *step = layer.shape(value)
    results = []
    for number in range(steps):
        one = replace(layer, name=f"{layer.name}/step_{number}")
        taken = one.reshape(take(one, value, {0: (number,)}, part="taken"), tuple(step), "image")
        made = apply(one, taken)
        results.append(one.reshape(made, (1, *layer.shape(made)), "result"))
    return results[0] if steps == 1 else layer.emit(Concatenate(0), *results)


def _handle_one(layer: Layer, value: str) -> str:
    made = HANDLERS[layer.spec.class_name](layer, [value])
    assert isinstance(made, str)
    return made


def time_distributed(layer: Layer, inputs: list[str]) -> str | list[str]:
    """TimeDistributed: the layer inside, applied to each step."""
    inner = layer.spec.wrapped
    handler = PER_STEP.get(inner.class_name) if inner else None
    if inner is not None and handler is None and inner.class_name in PASSED_STEPS:
        handler = HANDLERS[inner.class_name]
    if inner is not None and handler is None and inner.class_name in STEP_BY_STEP:
        return _step_by_step(replace(layer, spec=inner), inputs[0], _handle_one)
    if inner is None or handler is None:
        name = inner.class_name if inner else "nothing"
        raise layer.unsupported(
            f"TimeDistributed around {name} is not supported",
            "it is around a model, or one of: "
            f"{', '.join(sorted({*PASSED_STEPS, *STEP_BY_STEP, *PER_STEP}))}",
        )
    return handler(replace(layer, spec=inner), inputs)


HANDLERS: dict[str, Handler] = {
    **OPERATIONS,
    **CONVOLUTIONS,
    **LAYERS,
    **WINDOWS,
    **SHAPES,
    "TimeDistributed": time_distributed,
}
"""What to do with each class. A new layer is a function and a line in one of the tables; if it has
weights, a line in ``ROLES`` too."""

MAX_USES = 5000  # models used twice inside of models used twice grow fast

ADVICE = {
    "Lambda": "code in a model file is never run; use built-in layers, such as Rescaling for a "
    "scale, Reshape, or Activation",
}


def require_supported(model: ModelSpec, source: str) -> None:
    """Raise ``UnsupportedLayerError`` that names all classes without a handler at once."""
    known = {*HANDLERS, "InputLayer"}
    missing = [(name, layer) for name, layer in model.leaves() if layer.class_name not in known]
    if not missing:
        return
    name, layer = missing[0]
    others = sorted({other.class_name for _, other in missing} - {layer.class_name})
    also = f"; nor are {', '.join(others)}" if others else ""
    advice = ADVICE.get(layer.class_name, "replace the layer, or end the network before it")
    raise UnsupportedLayerError(
        f"layers of the class {layer.class_name[:60]} are not supported{also[:300]}",
        where=GraphBuilder(source).where(name, layer.class_name[:60]),
        fix=advice,
    )


@dataclass(frozen=True)
class Call:
    """One use of a layer: where the layer stands, and the nodes that it became."""

    path: LayerPath
    nodes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Built:
    """A graph, and which layer of the file made which of its nodes."""

    graph: Graph
    calls: tuple[Call, ...]


def build(
    model: ModelSpec,
    weights: Weights,
    source: str,
    bn_epsilon: float | None,
    details: Mapping[str, Any],
) -> Built:
    """The graph of ``model``.

    Raises:
        UnsupportedLayerError: a layer, or one of its settings, is not supported.
        ModelFileError: configuration and weights do not fit together.
    """
    builder = GraphBuilder(source)
    major = _major_version(str(details.get("keras_version", "")))
    walk = _Walk(builder, weights, bn_epsilon, major)
    outputs = walk.model(model, _inputs(model, builder), ())
    graph = builder.finish(outputs, details)
    kept = {node.name for node in graph.nodes}
    calls = (Call(c.path, tuple(n for n in c.nodes if n in kept)) for c in walk.calls)
    return Built(graph, tuple(call for call in calls if call.nodes))


def _major_version(text: str) -> int:
    """3 for ``3.15.1``; the first versions of Keras wrote none at all."""
    first = text.partition(".")[0]
    return int(first) if first in ("1", "2") else 3 if first else 1


def _inputs(model: ModelSpec, builder: GraphBuilder) -> list[str]:
    """Declare the inputs of the graph, in the order of the model."""
    layers = {layer.name: layer for layer in model.layers}
    names = []
    for ref in model.inputs:
        layer = layers.get(ref.layer)
        if layer is None or layer.class_name != "InputLayer":
            raise ModelFileError(f"{ref.layer!r} is no input layer", where=builder.source)
        names.append(builder.input(layer.name, _input_shape(layer, builder)))
    return names


def _input_shape(layer: LayerSpec, builder: GraphBuilder) -> Shape:
    where = builder.where(layer.name, layer.class_name)
    stated = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    if isinstance(stated, dict):
        raise UnsupportedLayerError("an input of several tensors is not supported", where=where)
    if not isinstance(stated, list) or len(stated) < 2:
        raise ModelFileError(
            f"the shape of the input is {stated}; it must be known without the samples",
            where=where,
            fix="build the model with an Input layer of a fixed shape, and save it again",
        )
    sizes = [size for size in stated[1:] if isinstance(size, int) and size > 0]
    if len(sizes) < len(stated) - 1 or elements(tuple(sizes)) > MAX_VALUE_ELEMENTS:
        text = ", ".join(str(size)[:20] for size in stated[1:9])
        raise ModelFileError(
            f"the input has the shape ({text}); every size must be known and plausible",
            where=where,
            fix="build the model again with a fixed input shape and copy the weights",
        )
    return tuple(sizes)


class _Walk:
    """Calls the handler of each use of each layer, models inside of models included."""

    def __init__(
        self,
        builder: GraphBuilder,
        weights: Weights,
        bn_epsilon: float | None,
        keras_major: int,
    ) -> None:
        self.builder = builder
        self.weights = weights
        self.bn_epsilon = bn_epsilon
        self.keras_major = keras_major
        self.uses = 0
        self.calls: list[Call] = []

    def model(self, model: ModelSpec, inputs: list[str], path: LayerPath) -> list[str]:
        """The values of the model's outputs for the given values of its inputs."""
        where = f"{self.builder.source}: model {'/'.join(path) or model.name!r}"
        if len(inputs) != len(model.inputs):
            what = f"the model takes {len(model.inputs)} inputs and is given {len(inputs)}"
            raise ModelFileError(what, where=where)
        results = dict(zip(model.inputs, inputs, strict=True))
        for layer, index, use in _in_order(model, where):
            if layer.class_name == "InputLayer":
                continue
            taken = [_fetch(results, ref, where) for ref in use.inputs]
            for tensor, value in enumerate(self._call(layer, use, taken, path)):
                results[Ref(layer.name, index, tensor)] = value
        return [_fetch(results, ref, where) for ref in model.outputs]

    def _call(self, layer: LayerSpec, use: Use, inputs: list[str], path: LayerPath) -> list[str]:
        self.uses += 1
        if self.uses > MAX_USES:
            raise ModelFileError(f"more than {MAX_USES} uses of layers", where=self.builder.source)
        path = (*path, layer.name)
        if layer.model is not None:
            if use.options.get("training") is True:
                raise UnsupportedLayerError(
                    "the model is called with training=True, so it stays random after the training",
                    where=self.builder.where("/".join(path), layer.class_name),
                    fix="call it without training=True",
                )
            return self.model(layer.model, inputs, path)
        read = partial(self.weights.array, path)
        name = "/".join(path)
        one = Layer(layer, use, name, self.builder, read, self.bn_epsilon, self.keras_major)
        if not inputs:
            raise one.damaged("the layer has no input")
        if layer.inside is not None:
            return [self._model_on_each_step(one, layer.inside, inputs[0], path)]
        start = len(self.builder.nodes)
        try:
            made = HANDLERS[layer.class_name](one, inputs)
            nodes = tuple(node.name for node in self.builder.nodes[start:])
            self.calls.append(Call(path, nodes))
            return [made] if isinstance(made, str) else made
        except McuExportError as error:
            error.where = error.where if "layer " in error.where else one.where
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            what = f"configuration and weights do not fit together: {error}"
            raise one.damaged(what) from error

    def _model_on_each_step(
        self, layer: Layer, model: ModelSpec, value: str, path: LayerPath
    ) -> str:
        """TimeDistributed around a model, which takes one tensor and gives one."""
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise layer.unsupported(
                f"TimeDistributed around a model of {len(model.inputs)} inputs and "
                f"{len(model.outputs)} outputs is not supported"
            )
        return _step_by_step(layer, value, lambda _, taken: self.model(model, [taken], path)[0])


def _fetch(results: Mapping[Ref, str], ref: Ref, where: str) -> str:
    if ref not in results:
        what = f"reads output {ref.tensor} of use {ref.use} of {ref.layer!r}, which does not exist"
        raise ModelFileError(what, where=where)
    return results[ref]


def _in_order(model: ModelSpec, where: str) -> Iterator[tuple[LayerSpec, int, Use]]:
    """All uses, each after those it reads from; otherwise in the order of the file."""
    uses = [(layer, i, use) for layer in model.layers for i, use in enumerate(layer.uses)]
    places = {(layer.name, i): place for place, (layer, i, _) in enumerate(uses)}
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for place, (_, _, use) in enumerate(uses):
        sources = ((ref.layer, ref.use) for ref in use.inputs)
        sorter.add(place, *(places[source] for source in sources if source in places))
    try:
        sorter.prepare()
    except CycleError as error:
        raise ModelFileError("the layers read from each other in a circle", where=where) from error
    ready = list(sorter.get_ready())
    heapq.heapify(ready)
    while ready:
        place = heapq.heappop(ready)
        yield uses[place]
        sorter.done(place)
        for following in sorter.get_ready():
            heapq.heappush(ready, following)
