"""Shapes that a ``.tflite`` file computes as it runs; with a batch of 1 all of them are known.

A network that was converted for any batch asks for the shape of a value, picks numbers from it and
reshapes by them. Here that arithmetic is done once: what it gives is a constant of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mcu_export.loaders.base import MAX_ELEMENTS
from mcu_export.loaders.tflite.importer import Importer
from mcu_export.loaders.tflite.model import INT32, INT64, TfliteOperator
from mcu_export.ops import Array, Shape, elements


def fold_shapes(importer: Importer, op: TfliteOperator) -> bool:
    """Whether the operator computes nothing but a shape; its output is a constant then."""
    tensors = importer.model.tensors
    if op.name == "SHAPE":
        importer.fold(op.outputs[0], np.asarray(importer.tensor(op, 0).shape, np.int64))
        return True
    fold = FOLDED.get(op.name)
    given = [tensors[number] for number in op.inputs if number >= 0]
    known = [t.data for t in given if t.data is not None and t.type in (INT32, INT64)]
    if fold is None or not known or len(known) < len(given):
        return False
    made = np.asarray(fold(op, known), np.int64)
    if made.size > MAX_ELEMENTS:
        raise importer.fail(op, f"computes a constant of {made.size} elements")
    importer.fold(op.outputs[0], made)
    return True


def resolved(wanted: Sequence[int], count: int) -> Shape:
    """The shape ``wanted`` of ``count`` elements, in which one size may be -1."""
    known = elements(tuple(size for size in wanted if size >= 0))
    if list(wanted).count(-1) != 1 or not known or count % known:
        return tuple(wanted)
    return tuple(count // known if size == -1 else size for size in wanted)


def slices(op: TfliteOperator, shape: Shape, bounds: Sequence[Array]) -> list[slice | int]:
    """What a STRIDED_SLICE takes of each axis: a range, or one index of an axis that it drops.

    Args:
        op: the operator, for its masks of begin, end and dropped axes.
        shape: of its input.
        bounds: begin, end and stride of the first axes.
    """
    begin, end, stride = (part.ravel().tolist() for part in bounds)
    begin_mask, end_mask, ellipsis, new_axis, shrink = (op.integer(i) for i in range(5))
    if ellipsis or new_axis or not len(begin) == len(end) == len(stride) <= len(shape):
        raise ValueError("an ellipsis or a new axis is not supported")
    chosen: list[slice | int] = []
    for axis, first in enumerate(begin):
        bit = 1 << axis
        if shrink & bit:
            chosen.append(first)
        else:
            low = None if begin_mask & bit else first
            chosen.append(slice(low, None if end_mask & bit else end[axis], stride[axis]))
    return chosen


def _pack(op: TfliteOperator, given: Sequence[Array]) -> Array:
    return np.stack(given, op.integer(1))


def _concatenate(op: TfliteOperator, given: Sequence[Array]) -> Array:
    return np.concatenate(given, op.integer(0))


def _strided_slice(op: TfliteOperator, given: Sequence[Array]) -> Array:
    source, *bounds = given
    made: Array = source[tuple(slices(op, source.shape, bounds))]
    return made


def _slice(op: TfliteOperator, given: Sequence[Array]) -> Array:
    source, begin, size = given
    ends = np.where(size < 0, source.shape, begin + size)
    made: Array = source[tuple(slice(a, b) for a, b in zip(begin, ends, strict=True))]
    return made


def _gather(op: TfliteOperator, given: Sequence[Array]) -> Array:
    return np.take(given[0], given[1], op.integer(0))


def _product(op: TfliteOperator, given: Sequence[Array]) -> Array:
    axes = tuple(given[1].ravel().tolist())
    made: Array = np.prod(given[0], axes, np.int64, keepdims=bool(op.integer(0, "?")))
    return made


def _reshape(op: TfliteOperator, given: Sequence[Array]) -> Array:
    return given[0].reshape(given[1].ravel().tolist())


def _expand(op: TfliteOperator, given: Sequence[Array]) -> Array:
    return np.expand_dims(given[0], int(given[1].ravel()[0]))


FOLDED: dict[str, Callable[[TfliteOperator, Sequence[Array]], Array]] = {
    "PACK": _pack,
    "CONCATENATION": _concatenate,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "GATHER": _gather,
    "REDUCE_PROD": _product,
    "RESHAPE": _reshape,
    "EXPAND_DIMS": _expand,
    "SQUEEZE": lambda op, given: np.squeeze(given[0]),
    "CAST": lambda op, given: given[0],
    "ADD": lambda op, given: given[0] + given[1],
    "SUB": lambda op, given: given[0] - given[1],
    "MUL": lambda op, given: given[0] * given[1],
    "MAXIMUM": lambda op, given: np.maximum(given[0], given[1]),
    "MINIMUM": lambda op, given: np.minimum(given[0], given[1]),
}
"""Operators of shapes: on constants of integers they give one."""
