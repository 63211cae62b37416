"""Ops that choose, repeat, join and reorder elements, and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.fold import FOLDS
from mcu_export.loaders.tf.importer import Handler, Importer
from mcu_export.loaders.tf.nodes import TfNode, bounded
from mcu_export.loaders.tf.values import Result, Value, as_known, as_value, unsupported
from mcu_export.ops import Array, Concatenate, Gather, Transpose

Indices = Sequence[Sequence[int]]


def concat(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """ConcatV2 (axis last) and Concat (axis first) of tensors."""
    *parts, axis = inputs if node.op == "ConcatV2" else (*inputs[1:], inputs[0])
    values = [as_value(node, part) for part in parts]
    full = [importer.shape(value, node) for value in values]
    chosen = _axis(node, int(as_known(node, axis).array), len(full[0]))
    if len(values) == 1:
        return values[0]
    names = [importer.sample(value, node) for value in values]
    return importer.emit(node, Concatenate(chosen - 1), names)


def split(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Split and SplitV: the results are gathered one by one."""
    if node.op == "Split":
        axis, value = as_known(node, inputs[0]), as_value(node, inputs[1])
        count = node.integer("num_split", 1)
        sizes = [0] * count
    else:
        value, axis = as_value(node, inputs[0]), as_known(node, inputs[2])
        sizes = [int(size) for size in as_known(node, inputs[1]).array.reshape(-1)]
    full = importer.shape(value, node)
    chosen = _axis(node, int(axis.array), len(full))
    if node.op == "Split":
        if not sizes or full[chosen] % len(sizes):
            raise ModelFileError(f"splits {full[chosen]} elements in {len(sizes)} parts")
        sizes = [full[chosen] // len(sizes)] * len(sizes)
    elif sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = full[chosen] - sum(size for size in sizes if size != -1)
    if min(sizes, default=0) < 1 or sum(sizes) != full[chosen]:
        raise ModelFileError(f"splits {full[chosen]} elements in parts of {sizes}")
    value = importer.settle(value)
    made: list[Value] = []
    for index, size in enumerate(sizes):
        start = sum(sizes[:index])
        made.append(_along(importer, node, value, chosen, range(start, start + size)))
        importer.results[f"{node.name}:{index}"] = made[-1]
    return made[0]


def slice_of(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Slice and StridedSlice by constants: which elements remain of each axis."""
    value = as_value(node, inputs[0])
    full = importer.shape(value, node)
    limits = [as_known(node, item).array for item in inputs[1:]]
    chosen: list[list[int]] = []
    shape: tuple[int, ...] = ()
    for axis, size in enumerate(full):
        lengths = [size if other == axis else 1 for other in range(len(full))]
        numbers = np.broadcast_to(np.arange(size).reshape(lengths), full)
        left = np.asarray(FOLDS[node.op](node, [numbers, *limits]))
        shape = left.shape
        chosen.append([int(number) for number in dict.fromkeys(left.reshape(-1).tolist())])
    if not all(chosen):
        raise ModelFileError(f"takes nothing of the shape {full}")
    made = _gathered(importer, node, value, chosen)
    return importer.relayout(made, shape, node)


def gather(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Gather and GatherV2 of a tensor by constant indices along one axis."""
    value = as_value(node, inputs[0])
    axis = int(as_known(node, inputs[2]).array) if len(inputs) > 2 else 0
    indices = as_known(node, inputs[1]).array
    full = importer.shape(value, node)
    chosen = _axis(node, axis, len(full))
    if indices.ndim > 1 or indices.size == 0:
        raise unsupported(node, f"gathers by indices of the shape {indices.shape}")
    made = _along(importer, node, value, chosen, [int(i) for i in indices.reshape(-1)])
    if indices.ndim == 1:
        return made
    return importer.relayout(made, (*full[:chosen], *full[chosen + 1 :]), node)


def tile(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Tile: the whole of each axis several times; Keras repeats elements with it."""
    value = as_value(node, inputs[0])
    full = importer.shape(value, node)
    counts = [int(count) for count in as_known(node, inputs[1]).array.reshape(-1)]
    if len(counts) != len(full) or min(counts) < 1 or counts[0] != 1:
        raise unsupported(node, f"repeats the shape {full} by {counts}")
    bounded([size * count for size, count in zip(full, counts, strict=True)], node.where)
    indices = [list(range(size)) * count for size, count in zip(full, counts, strict=True)]
    return _gathered(importer, node, value, indices)


def transpose(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Transpose; where it only moves axes of size 1 the elements stay where they are."""
    value = as_value(node, inputs[0])
    shape = importer.shape(value, node)
    order = [int(axis) for axis in as_known(node, inputs[1]).array]
    if sorted(order) != list(range(len(shape))):
        raise ModelFileError(f"brings the axes of {shape} into the order {order}")
    moved = [axis for axis in order if shape[axis] != 1]
    wanted = [shape[axis] for axis in order]
    if moved == sorted(moved):
        return importer.relayout(value, wanted, node)
    if order[0] != 0:
        raise unsupported(node, f"transposing {shape} by {order} moves the batch")
    source = importer.sample(value, node)
    return importer.emit(node, Transpose(tuple(axis - 1 for axis in order[1:])), [source])


def resize(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """ResizeNearestNeighbor; positions in float32, as TensorFlow computes them.

    Source: ``tensorflow/core/util/image_resizer_state.h``.
    """
    value = as_value(node, inputs[0])
    full = importer.shape(value, node)
    sizes = bounded([int(size) for size in as_known(node, inputs[1]).array.reshape(-1)], node.where)
    if len(full) != 4 or len(sizes) != 2 or min(sizes) < 1:
        raise unsupported(node, f"resizes the shape {full} to {sizes}")
    corners = node.flag("align_corners", False)
    half = node.flag("half_pixel_centers", False)
    rows, columns = (
        _nearest(before, after, corners, half)
        for before, after in zip(full[1:3], sizes, strict=True)
    )
    return _gathered(importer, node, value, [[0], rows, columns, range(full[3])])


def _nearest(before: int, after: int, corners: bool, half: bool) -> list[int]:
    """For each position of the result the position in the image."""
    aligned = corners and after > 1
    scale = np.float32((before - 1) / (after - 1) if aligned else before / after)
    position = np.arange(after, dtype=np.float32) + np.float32(0.5 if half else 0)
    exact: Array = position * scale
    rounded = np.floor(exact + np.float32(0.5)) if corners else np.floor(exact)
    return [int(p) for p in np.clip(rounded, 0, before - 1)]


def _axis(node: TfNode, axis: int, rank: int) -> int:
    """The axis counted from the front; the batch is none to work along."""
    chosen = range(rank)[axis]
    if chosen == 0:
        raise unsupported(node, "works along the batch")
    return chosen


def _along(
    importer: Importer, node: TfNode, value: Value, axis: int, indices: Sequence[int]
) -> Value:
    """Elements of one axis."""
    full = importer.shape(value, node)
    everything: list[Sequence[int]] = [range(size) for size in full]
    everything[axis] = indices
    return _gathered(importer, node, value, everything)


def _gathered(importer: Importer, node: TfNode, value: Value, indices: Indices) -> Value:
    """The elements with these indices along each axis, the batch included."""
    full = importer.shape(value, node)
    if full[0] != 1 or list(indices[0]) != [0] or len(full) < 2:
        raise unsupported(node, f"takes parts of the batch of the shape {full}")
    bounded([len(chosen) for chosen in indices], node.where)
    if all(list(chosen) == list(range(size)) for chosen, size in zip(indices, full, strict=True)):
        return value
    source = importer.sample(value, node)
    op = Gather(tuple(tuple(chosen) for chosen in indices[1:]))
    return importer.emit(node, op, [source])


MOVE_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Concat", "ConcatV2"), concat),
    **dict.fromkeys(("Split", "SplitV"), split),
    **dict.fromkeys(("Slice", "StridedSlice"), slice_of),
    **dict.fromkeys(("Gather", "GatherV2"), gather),
    "Transpose": transpose,
    "ResizeNearestNeighbor": resize,
    "Tile": tile,
}
