"""Keras layers and functions that only move values: join, split, slice, transpose, repeat."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mcu_export.loaders.keras.layer import Handler, Layer
from mcu_export.ops import Concatenate, Gather, Transpose

Indices = tuple[int, ...]


def take(layer: Layer, value: str, chosen: Mapping[int, Indices], part: str = "") -> str:
    """The elements at ``chosen`` indices by axis, without the batch; nothing where that is all."""
    shape = layer.shape(value)
    sizes = {axis: len(indices) for axis, indices in chosen.items()}
    layer.require_plausible(tuple(sizes.get(axis, size) for axis, size in enumerate(shape)))
    every = tuple(tuple(range(size)) for size in shape)
    indices = tuple(chosen.get(axis, all_of_it) for axis, all_of_it in enumerate(every))
    return value if indices == every else layer.emit(Gather(indices), value, part=part)


def axis_of(layer: Layer, value: str, given: Any) -> int:
    """An axis that is not the batch, counted without the batch."""
    rank = len(layer.shape(value)) + 1
    axes = layer.integers(given, "axis", -rank)
    if len(axes) != 1 or axes[0] >= rank:
        raise layer.damaged(f"the axis {str(given)[:60]} is not one of {rank}")
    if axes[0] % rank == 0:
        raise layer.unsupported("works along the batch", "use another axis")
    return axes[0] % rank - 1


def _argument(layer: Layer, key: str, default: Any) -> Any:
    """An argument given by name, or the only one that is no tensor."""
    found = layer.argument(key)
    constants = layer.use.constants
    if found is None and constants:
        found = constants[0]
    return default if found is None else found


def concatenate(layer: Layer, inputs: list[str]) -> str:
    """The layer ``Concatenate``, and ``concatenate(xs, axis)``."""
    axis = axis_of(layer, inputs[0], _argument(layer, "axis", -1))
    return inputs[0] if len(inputs) == 1 else layer.emit(Concatenate(axis), *inputs)


def split(layer: Layer, inputs: list[str]) -> list[str]:
    """``split(x, parts, axis)``: a number of equal parts; or the places to cut (Keras 3), or the
    sizes of the parts (TensorFlow)."""
    axis = axis_of(layer, inputs[0], layer.setting("axis", layer.use.options.get("axis", 0)))
    size = layer.shape(inputs[0])[axis]
    places, sizes = layer.argument("indices_or_sections"), layer.argument("num_or_size_splits")
    parts = places if places is not None else sizes
    if isinstance(parts, list) and places is not None:
        cuts = [0, *layer.integers(parts, "indices_or_sections", 0), size]
    elif isinstance(parts, list):
        cuts = [0]
        for length in layer.integers(parts, "num_or_size_splits", 1):
            cuts.append(cuts[-1] + length)
    else:
        count = layer.integers(parts, "the number of parts", 1)[0]
        if count > size or size % count:
            raise layer.damaged(f"cannot split {size} elements into {count} parts")
        cuts = list(range(0, size + 1, size // count))
    if cuts[-1] != size or sorted(set(cuts)) != cuts:
        raise layer.damaged(f"cannot split {size} elements at {cuts[:60]}")
    return [
        take(layer, inputs[0], {axis: tuple(range(start, stop))}, part=f"part_{number}")
        for number, (start, stop) in enumerate(pairwise(cuts))
    ]


def flip(layer: Layer, inputs: list[str]) -> str:
    """``flip(x, axis)``."""
    given = layer.argument("axis")
    axes = given if isinstance(given, list) else [given]
    chosen = {}
    for one in axes:
        axis = axis_of(layer, inputs[0], one)
        chosen[axis] = tuple(reversed(range(layer.shape(inputs[0])[axis])))
    return take(layer, inputs[0], chosen)


def repeat_vector(layer: Layer, inputs: list[str]) -> str:
    """RepeatVector: a vector (C) as each of ``n`` steps."""
    (size,) = layer.shape(inputs[0])
    row = layer.reshape(inputs[0], (1, size), "row")
    return take(layer, row, {0: (0,) * layer.sizes("n", 1)[0]})


def permute(layer: Layer, inputs: list[str]) -> str:
    """Permute; ``dims`` counts the axes from 1."""
    return moved_axes(layer, inputs[0], layer.integers(layer.setting("dims", []), "dims", 1))


def moved_axes(layer: Layer, value: str, order: list[int]) -> str:
    """The value with its axes in another order, counted from 1; a reshape where no value moves."""
    shape = layer.shape(value)
    if sorted(order) != list(range(1, len(shape) + 1)):
        raise layer.damaged(f"cannot permute {shape} by {order}")
    moved = [axis for axis in order if shape[axis - 1] != 1]
    if moved == sorted(moved):
        return layer.reshape(value, tuple(shape[axis - 1] for axis in order))
    return layer.emit(Transpose(tuple(axis - 1 for axis in order)), value)


def transpose(layer: Layer, inputs: list[str]) -> str:
    """``transpose(x, axes)``; the batch stays first."""
    order = layer.integers(layer.argument("axes", "perm"), "axes", 0)
    if order[:1] != [0]:
        raise layer.unsupported(f"transposes the batch: {order}")
    return moved_axes(layer, inputs[0], order[1:])


def swap_axes(layer: Layer, inputs: list[str]) -> str:
    """``swapaxes(x, axis1, axis2)``."""
    a, b = (axis_of(layer, inputs[0], layer.argument(key)) for key in ("axis1", "axis2"))
    order = list(range(1, len(layer.shape(inputs[0])) + 1))
    order[a], order[b] = order[b], order[a]
    return moved_axes(layer, inputs[0], order)


# --- slices -----------------------------------------------------------------------------------

EVERYTHING = slice(None)


def item(layer: Layer, inputs: list[str]) -> str:
    """``x[:, 1:5, ..., 0, None]``."""
    shape = layer.shape(inputs[0])
    wanted = _expanded(layer, _slices(layer), len(shape) + 1)
    if wanted[0] != EVERYTHING:
        raise layer.unsupported("takes some samples of the batch", "begin with x[:, ...]")
    kept: list[int] = []
    chosen: dict[int, Indices] = {}
    for entry in wanted[1:]:
        if entry is None:
            kept.append(1)
            continue
        axis = len(chosen)
        indices = _indices(layer, entry, shape[axis])
        chosen[axis] = indices
        if isinstance(entry, slice):
            kept.append(len(indices))
    if not kept:
        raise layer.unsupported("takes a single number of a tensor", "keep an axis: x[:, 0:1]")
    return layer.reshape(take(layer, inputs[0], chosen), tuple(kept), "shape")


def _indices(layer: Layer, entry: int | slice, size: int) -> Indices:
    """What an index or a slice takes of ``size`` elements."""
    if isinstance(entry, slice):
        taken = tuple(range(size)[entry])
        if not taken:
            raise layer.damaged(f"takes nothing of {size} elements")
        return taken
    if not -size <= entry < size:
        raise layer.damaged(f"takes element {entry} of {size}")
    return (entry % size,)


def _slices(layer: Layer) -> list[Any]:
    """What stands between the brackets, as Keras 2 and 3 store it."""
    given = layer.argument("slice_spec")
    if given is None and len(layer.use.constants) == 1:
        given = layer.use.constants[0]
    if isinstance(given, dict) and given.get("class_name") == "__tuple__":
        given = given.get("items")
    entries = given if isinstance(given, list) else [given]
    return [_entry(layer, entry) for entry in entries]


def _entry(layer: Layer, entry: Any) -> Any:
    if entry is None or (isinstance(entry, int) and not isinstance(entry, bool)):
        return entry
    if isinstance(entry, dict) and entry.get("class_name") == "__ellipsis__":
        return ...
    if isinstance(entry, dict) and entry.get("class_name") == "__slice__":
        entry = entry.get("config")
    if isinstance(entry, dict) and set(entry) <= {"start", "stop", "step"}:
        bounds = [entry.get(key) for key in ("start", "stop", "step")]
        for bound in bounds:
            if bound is not None:
                layer.integers(bound, "a slice", -(1 << 31))
        if bounds[2] == 0:
            raise layer.damaged("a slice has the step 0")
        return slice(*bounds)
    raise layer.unsupported(f"takes the elements {str(entry)[:60]}", "use plain slices")


def _expanded(layer: Layer, entries: list[Any], rank: int) -> list[Any]:
    """``entries`` with an ellipsis, and what is left out at the end, written as slices."""
    used = sum(entry is not None and entry is not ... for entry in entries)
    rest = [EVERYTHING] * (rank - used)
    if used > rank or entries.count(...) > 1:
        raise layer.damaged(f"takes {used} axes of {rank}")
    if ... not in entries:
        return entries + rest
    place = entries.index(...)
    return entries[:place] + rest + entries[place + 1 :]


MOVES: dict[str, Handler] = {
    "Concatenate": concatenate,
    "Flip": flip,
    "GetItem": item,
    "Permute": permute,
    "RepeatVector": repeat_vector,
    "SlicingOpLambda": item,
    "Split": split,
    "Swapaxes": swap_axes,
    "Transpose": transpose,
}
"""Layers, and classes of Keras 3 operations."""

TF_MOVES: dict[str, Handler] = {
    **dict.fromkeys(("concat", "keras.backend.concatenate"), concatenate),
    "__operators__.getitem": item,
    "reverse": flip,
    "split": split,
    **dict.fromkeys(("transpose", "compat.v1.transpose"), transpose),
}
"""Functions of TFOpLambda, without the ``tf.`` that its names may start with."""
