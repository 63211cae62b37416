"""Which stored array is which weight of which layer, for both kinds of Keras files.

Layers are identified by their path: the names of the nested models around them, then their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mcu_export.loaders.keras.config import LayerSpec, ModelSpec
from mcu_export.loaders.keras.store import Hdf5Store
from mcu_export.ops import Array

LayerPath = tuple[str, ...]


@dataclass(frozen=True)
class Role:
    """A weight that layers of a class have.

    Attributes:
        name: what Keras calls it.
        switch: key of the configuration that says whether the layer has it; empty for always.
        default: what the absent key means.
        trainable: whether training changes it; decides the order in an ``.h5`` file.
        optional: not every version of Keras stores it, and nothing here reads it.
    """

    name: str
    switch: str = ""
    default: bool = True
    trainable: bool = True
    optional: bool = False


BIAS = Role("bias", "use_bias")
BATCH_NORM = (
    Role("gamma", "scale"),
    Role("beta", "center"),
    Role("moving_mean", trainable=False),
    Role("moving_variance", trainable=False),
    Role("renorm_mean", "renorm", default=False, trainable=False, optional=True),
    Role("renorm_stddev", "renorm", default=False, trainable=False, optional=True),
)
NORMALIZATION = (
    Role("mean", trainable=False),
    Role("variance", trainable=False),
    Role("count", trainable=False, optional=True),
)
SEPARABLE = (Role("depthwise_kernel"), Role("pointwise_kernel"), BIAS)

ROLES: dict[str, tuple[Role, ...]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D"), (Role("kernel"), BIAS)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose"), (Role("kernel"), BIAS)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (Role("depthwise_kernel"), BIAS)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), SEPARABLE),
    "BatchNormalization": BATCH_NORM,
    "Normalization": NORMALIZATION,
    "PReLU": (Role("alpha"),),
}
"""Weights by class, in the order in which Keras creates them; other classes have none."""


def roles_of(layer: LayerSpec) -> list[Role]:
    """The weights that the layer has, by its class and configuration, in order of creation."""
    if layer.wrapped is not None:
        return roles_of(layer.wrapped)
    if layer.class_name == "Normalization" and layer.config.get("mean") is not None:
        return []
    roles = ROLES.get(layer.class_name, ())
    return [r for r in roles if not r.switch or bool(layer.config.get(r.switch, r.default))]


class Weights(Protocol):
    """Where a layer's weights come from."""

    def array(self, path: LayerPath, role: str) -> Array:
        """One weight as float32; ``ModelFileError`` where the file does not have it."""


# --- the .keras archive -----------------------------------------------------------------------

# Attributes of a model under which the versions of Keras list its layers.
CONTAINERS = ("layers", "_layers", "_layer_checkpoint_dependencies")
WORD_START = re.compile(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")


def snake_case(class_name: str) -> str:
    """``re_lu`` for ``ReLU``: the stem of a layer's group."""
    return WORD_START.sub("_", re.sub(r"\W", "", class_name)).lower()


class ArchiveWeights:
    """Weights in ``model.weights.h5``: ``layers/<class in snake case>_<count>/vars/<index>``."""

    def __init__(self, store: Hdf5Store, model: ModelSpec) -> None:
        self._store = store
        self._layers: dict[LayerPath, tuple[str, LayerSpec]] = {}
        self._by_name: dict[str, list[str]] = {}
        self._first: dict[str, tuple[str, LayerSpec]] = {}
        for group in store.groups():
            if group.endswith("/vars") and store.children(group):
                name = store.attribute(group, "name")
                self._by_name.setdefault(name or "", []).append(group.removesuffix("/vars"))
        self._assign(model, (), "")

    def _assign(self, model: ModelSpec, path: LayerPath, group: str) -> None:
        """Find the group of each layer.

        The old container lists every layer that has weights twice, which the counters show.
        """
        candidates = (f"{group}/{name}".lstrip("/") for name in CONTAINERS)
        container = next(filter(self._store.has_group, candidates), group)
        twice = container.endswith(CONTAINERS[-1])
        counts: Counter[str] = Counter()
        for layer in model.layers:
            stem = snake_case(layer.stored_class)
            count = counts[stem]
            counts[stem] += 2 if twice and _has_weights(layer) else 1
            place = f"{container}/{stem}_{count}" if count else f"{container}/{stem}"
            if layer.inside is not None:
                inner = place if layer.model is not None else f"{place}/layer"
                self._assign(layer.inside, (*path, layer.name), inner)
            else:
                self._layers[(*path, layer.name)] = (self._group(layer, place), layer)

    def _group(self, layer: LayerSpec, place: str) -> str:
        """The group at ``place``, or the one that bears the layer's name.

        A layer that two models share is stored only once, at the first of its two places. Not
        every version of Keras writes names; then it is the layer of the same name and settings.
        """
        owner = layer.name if layer.wrapped is None else layer.wrapped.name
        place = place if layer.wrapped is None else f"{place}/layer"
        named = self._by_name.get(owner, [])
        stored = self._store.has_group(f"{place}/vars")
        first, twin = self._first.setdefault(layer.name, (place, layer))
        if not stored and not named and _settings(twin) == _settings(layer):
            return first
        if place in named or len(named) != 1:
            return place
        name = self._store.attribute(f"{place}/vars", "name") if stored else owner
        return place if stored and name is None else named[0]

    def array(self, path: LayerPath, role: str) -> Array:
        """One weight as float32; ``ModelFileError`` where the file does not have it."""
        group, layer = self._layers[path]
        names = [r.name for r in roles_of(layer)]
        return self._store.array(f"{group}/vars/{names.index(role)}")


def _settings(layer: LayerSpec) -> dict[str, Any]:
    """Class and configuration, without initializers and the like, which copies write anew."""
    plain = {key: value for key, value in layer.config.items() if not isinstance(value, dict)}
    return {**plain, "class_name": layer.class_name}


def _has_weights(layer: LayerSpec) -> bool:
    if layer.inside is not None:
        return any(_has_weights(inner) for inner in layer.inside.layers)
    return bool(roles_of(layer))


# --- the .h5 file -----------------------------------------------------------------------------

Slot = tuple[LayerPath, Role, bool]


class LegacyWeights:
    """Weights in an ``.h5`` file: each layer of the model lists its own, those inside included."""

    def __init__(self, store: Hdf5Store, model: ModelSpec) -> None:
        self._store = store
        self._root = "model_weights" if store.has_group("model_weights") else ""
        self._paths: dict[tuple[LayerPath, str], str] = {}
        for layer in model.layers:
            slots = list(_slots(layer, ()))
            if slots:
                self._assign(layer.name, slots)

    def _assign(self, name: str, slots: list[Slot]) -> None:
        group = f"{self._root}/{name}".lstrip("/")
        if not self._store.has_group(group):
            raise self._store.error(f"the file has no weights for the layer {name!r}")
        names = self._store.names(group, "weight_names")
        if len(names) != len(slots):
            slots = [slot for slot in slots if not slot[1].optional]
        if len(names) != len(slots):
            raise self._store.error(
                f"layer {name!r} has {len(names)} weights in the file and should have {len(slots)}"
            )
        # What training changes comes first; a few files keep the order of the layers instead.
        ordered = sorted(slots, key=lambda slot: not slot[2])
        if not _fits(ordered, names) and _fits(slots, names):
            ordered = slots
        for (path, role, _), weight in zip(ordered, names, strict=True):
            self._paths[path, role.name] = f"{group}/{weight}"

    def array(self, path: LayerPath, role: str) -> Array:
        """One weight as float32; ``ModelFileError`` where the file does not have it."""
        return self._store.array(self._paths[path, role])


def _slots(layer: LayerSpec, path: LayerPath) -> Iterator[Slot]:
    """The weights of a layer, or of all layers of a model, in the order of the layers."""
    path = (*path, layer.name)
    if layer.inside is not None:
        for inner in layer.inside.layers:
            yield from _slots(inner, path)
        return
    trainable = layer.trainable and (layer.wrapped is None or layer.wrapped.trainable)
    for role in roles_of(layer):
        yield path, role, role.trainable and trainable


def _fits(slots: Sequence[Slot], names: Sequence[str]) -> bool:
    """Whether no stored name contradicts the role it would get."""
    known = {role.name for roles in ROLES.values() for role in roles}
    pairs = zip(slots, (name.rpartition("/")[2].partition(":")[0] for name in names), strict=True)
    return all(slot[1].name == name for slot, name in pairs if name in known)
