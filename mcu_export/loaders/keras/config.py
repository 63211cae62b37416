"""The configuration of a Keras model as one form, whatever version of Keras wrote it.

Sequential models become functional ones here, so that everything after this file knows a single
kind of model: layers, the uses of each layer, and where every use takes its inputs from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.loaders.keras.files import SAVE_AGAIN, Json
from mcu_export.loaders.keras.legacy import merge_branches, modernize

MODEL_CLASSES = frozenset({"Functional", "Model", "Sequential"})
WRAPPERS = frozenset({"TimeDistributed"})
MAX_NESTED_MODELS = 24


@dataclass(frozen=True)
class Ref:
    """One output tensor of one use of a layer."""

    layer: str
    use: int = 0
    tensor: int = 0


@dataclass(frozen=True, eq=False)
class Use:
    """One call of a layer.

    Attributes:
        inputs: the tensors it takes, in order.
        constants: positional arguments that are no tensors, such as the 1.0 of ``x + 1.0``.
        options: keyword arguments that are no tensors, None left out.
        constant_first: the first positional argument is a constant, as in ``1.0 - x``.
    """

    inputs: tuple[Ref, ...]
    constants: tuple[Any, ...]
    options: Json
    constant_first: bool = False


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """A layer: its class, name and configuration in the terms of Keras 2, and its uses.

    Attributes:
        stored_class: the class as the file calls it.
        model: the layers inside, if the layer is a model.
        wrapped: the layer inside, if it is a wrapper such as TimeDistributed.
    """

    class_name: str
    name: str
    config: Json
    uses: tuple[Use, ...]
    stored_class: str = ""
    model: ModelSpec | None = None
    wrapped: LayerSpec | None = None

    @property
    def inside(self) -> ModelSpec | None:
        """The model that the layer is, or that it applies to each step."""
        return self.model or (self.wrapped.model if self.wrapped else None)

    @property
    def trainable(self) -> bool:
        """Whether its weights were trained; decides their order in an ``.h5`` file."""
        return bool(self.config.get("trainable", True))


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """A model: layers, and the tensors that go in and come out."""

    name: str
    layers: tuple[LayerSpec, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, LayerSpec]]:
        """All layers that are no models, each with its name ``outer/inner``."""
        for layer in self.layers:
            if layer.inside is None:
                yield prefix + layer.name, layer
            else:
                yield from layer.inside.leaves(f"{prefix}{layer.name}/")


def parse_model(config: Json, where: str) -> ModelSpec:
    """The model that a deserialized ``model_config`` or ``config.json`` describes.

    Raises:
        ModelFileError: the configuration is not one that Keras writes.
    """
    class_name = config.get("class_name")
    if class_name not in MODEL_CLASSES:
        raise ModelFileError(
            f"the file holds a {str(class_name)[:60]!r}, not a Sequential or Functional model",
            where=where,
            fix="build the same network as keras.Model(inputs, outputs) with built-in layers, "
            "copy the weights and save it",
        )
    try:
        return _model(config, 0)
    except ModelFileError as error:
        error.where = error.where or where
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(
            f"the configuration is not one that Keras writes ({type(error).__name__}: {error})",
            where=where,
            fix=SAVE_AGAIN,
        ) from error


def _model(data: Json, depth: int) -> ModelSpec:
    if depth > MAX_NESTED_MODELS:
        raise ModelFileError(f"more than {MAX_NESTED_MODELS} models inside of each other")
    build = _sequential if data["class_name"] == "Sequential" else _functional
    model = build(data, depth)
    names = [layer.name for layer in model.layers]
    if len(set(names)) < len(names):
        raise ModelFileError(f"model {model.name!r} has two layers of the same name")
    return model


def _layer(data: Json, name: str, uses: tuple[Use, ...], depth: int) -> LayerSpec:
    if depth > MAX_NESTED_MODELS:
        raise ModelFileError(f"more than {MAX_NESTED_MODELS} layers inside of each other")
    class_name, config = data["class_name"], data["config"]
    if class_name in MODEL_CLASSES:
        model = _model(data, depth + 1)
        settings = config if isinstance(config, dict) else {}
        return LayerSpec(class_name, name or model.name, settings, uses, class_name, model)
    stored_class = str(class_name)
    class_name, config = modernize(stored_class, dict(config))
    # Not part of the layer's own configuration, yet the only place where Keras 3 may keep it.
    built = data.get("build_config") or {}
    config.setdefault("build_input_shape", built.get("input_shape"))
    name = str(name or config["name"])
    wrapped = None
    if class_name in WRAPPERS:
        wrapped = _layer(config["layer"], "", (), depth + 1)
    return LayerSpec(class_name, name, config, uses, stored_class, wrapped=wrapped)


# --- sequential -------------------------------------------------------------------------------


def _sequential(data: Json, depth: int) -> ModelSpec:
    config = data["config"]
    items = config if isinstance(config, list) else config["layers"]  # Keras 1 wrote a bare list
    name = "sequential" if isinstance(config, list) else str(config.get("name", "sequential"))
    first, branches = merge_branches(items)
    layers = [_layer(branch, "", (), depth) for branch in branches]
    chain = [_layer(item, "", (), depth) for item in first]
    if not chain:
        raise ModelFileError(f"model {name!r} has no layers")
    if layers:
        return _branched(name, layers, chain)
    if chain[0].class_name != "InputLayer":
        shape = _sequential_shape(data, chain[0])
        source = LayerSpec("InputLayer", f"{chain[0].name}_input", {"batch_shape": shape}, ())
        chain.insert(0, source)
    return _linked(name, [replace(chain[0], uses=(_use(),))], chain[1:], [Ref(chain[0].name)])


def _branched(name: str, branches: list[LayerSpec], chain: list[LayerSpec]) -> ModelSpec:
    """Keras 1: a Sequential that starts with a Merge of other models, each with its own input."""
    layers, ends = [], []
    for branch in branches:
        if branch.model is None:
            raise ModelFileError(f"a Merge of something that is no model: {branch.class_name}")
        source = LayerSpec(
            "InputLayer", f"{branch.name}_input", {"batch_shape": _shape_of(branch)}, (_use(),)
        )
        layers += [source, replace(branch, uses=(_use(Ref(source.name)),))]
        ends.append(Ref(branch.name))
    return _linked(name, layers, chain, ends)


def _linked(
    name: str, start: list[LayerSpec], chain: list[LayerSpec], ends: list[Ref]
) -> ModelSpec:
    """The layers of ``chain`` one after the other, the first one fed by ``ends``."""
    layers = list(start)
    for layer in chain:
        layers.append(replace(layer, uses=(_use(*ends),)))
        ends = [Ref(layer.name)]
    inputs = tuple(Ref(layer.name) for layer in start if layer.class_name == "InputLayer")
    return ModelSpec(name, tuple(layers), inputs, tuple(ends))


def _sequential_shape(data: Json, first: LayerSpec) -> Any:
    config = data["config"] if isinstance(data["config"], dict) else {}
    built = data.get("build_config") or {}
    return (
        _shape_of(first)
        or config.get("build_input_shape")
        or built.get("input_shape")
        or first.config.get("build_input_shape")
    )


def _shape_of(layer: LayerSpec) -> Any:
    """The input shape, batch included, that a layer's configuration states; else None."""
    for _ in range(MAX_NESTED_MODELS + 2):
        if layer.model is None:
            break
        layer = layer.model.layers[0]
    return layer.config.get("batch_shape") or layer.config.get("batch_input_shape")


# --- functional -------------------------------------------------------------------------------


def _functional(data: Json, depth: int) -> ModelSpec:
    config = data["config"]
    items = config["layers"]
    names = frozenset(str(item.get("name") or item["config"]["name"]) for item in items)
    layers = []
    for item in items:
        uses = tuple(_parse_use(node, names) for node in item.get("inbound_nodes") or ())
        if item["class_name"] == "InputLayer":
            uses = (_use(),)
        layers.append(_layer(item, str(item.get("name") or ""), uses, depth))
    inputs, outputs = (
        tuple(leaf for leaf in _flatten(config[key], names) if isinstance(leaf, Ref))
        for key in ("input_layers", "output_layers")
    )
    name = str(config.get("name", "model"))
    model = ModelSpec(name, tuple(layers), inputs, outputs)
    keras_3 = any(
        isinstance(node, dict) for item in items for node in item.get("inbound_nodes") or ()
    )
    return _renumbered_outputs(model) if keras_3 else _renumbered(model)


def _use(*inputs: Ref) -> Use:
    return Use(inputs, (), {})


def _parse_use(node: Any, names: frozenset[str]) -> Use:
    """One entry of ``inbound_nodes``.

    Keras 3 writes ``{"args": [...], "kwargs": {...}}``; Keras 1 and 2 write a list of
    ``[layer, use, tensor, kwargs]``, or a single such entry for an op.
    """
    options: Json = {}
    if isinstance(node, dict):
        leaves = [leaf for arg in node.get("args", []) for leaf in _flatten(arg, names)]
        options.update(node.get("kwargs") or {})
    else:
        leaves = list(_flatten(node, names))
        for entry in [node, *node]:
            if _is_ref(entry, names) and len(entry) > 3:
                options.update(entry[3])
    constant_first = bool(leaves) and not isinstance(leaves[0], Ref)
    kept: Json = {}
    for key, value in options.items():
        found = list(_flatten(value, names))
        tensors = [leaf for leaf in found if isinstance(leaf, Ref)]
        leaves += tensors
        if found and not tensors:
            kept[key] = found[0] if len(found) == 1 else value
    inputs = tuple(leaf for leaf in leaves if isinstance(leaf, Ref))
    constants = tuple(leaf for leaf in leaves if not isinstance(leaf, Ref))
    return Use(inputs, constants, kept, constant_first)


def _is_ref(value: Any, names: frozenset[str]) -> bool:
    return (
        isinstance(value, list)
        and 3 <= len(value) <= 4
        and isinstance(value[0], str)
        and (value[0] in names or value[0] == "_CONSTANT_VALUE")
        and isinstance(value[1], int)
    )


def _flatten(value: Any, names: frozenset[str]) -> Iterator[Any]:
    """Tensors as :class:`Ref` and constants of a nested structure; dicts sorted by key.

    A list without a tensor in it is one constant.
    """
    if _is_ref(value, names):
        yield value[2] if value[0] == "_CONSTANT_VALUE" else Ref(value[0], value[1], int(value[2]))
    elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        layer, use, tensor = value["config"]["keras_history"]
        yield Ref(str(layer), int(use), int(tensor))
    elif isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        yield value["config"]["value"]
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _flatten(value[key], names)
    elif isinstance(value, list):
        leaves = [leaf for item in value for leaf in _flatten(item, names)]
        yield from leaves if any(isinstance(leaf, Ref) for leaf in leaves) else (value,)
    elif value is not None:
        yield value


def _renumbered_outputs(model: ModelSpec) -> ModelSpec:
    """``model`` with the uses of its nested models counted from 0.

    Keras 3 counts those of a nested Functional from 1 where it names the outputs, nowhere else.
    """
    nested = {
        layer.name
        for layer in model.layers
        if layer.model is not None and layer.class_name != "Sequential"
    }
    outputs = (
        replace(ref, use=ref.use - 1) if ref.layer in nested else ref for ref in model.outputs
    )
    return replace(model, outputs=tuple(outputs))


def _renumbered(model: ModelSpec) -> ModelSpec:
    """``model`` with the uses of its nested models counted from 0.

    A nested model that was made with an input has a use of its own before the first one here;
    Keras 1 and 2 leave it out of the list of uses, but count it.
    """
    nested = {layer.name for layer in model.layers if layer.model is not None}
    refs = [ref for layer in model.layers for use in layer.uses for ref in use.inputs]
    first: dict[str, int] = {}
    for ref in [*refs, *model.outputs]:
        if ref.layer in nested:
            first[ref.layer] = min(ref.use, first.get(ref.layer, ref.use))

    def counted(refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
        return tuple(replace(ref, use=ref.use - first.get(ref.layer, 0)) for ref in refs)

    layers = tuple(
        replace(layer, uses=tuple(replace(use, inputs=counted(use.inputs)) for use in layer.uses))
        for layer in model.layers
    )
    return replace(model, layers=layers, outputs=counted(model.outputs))
