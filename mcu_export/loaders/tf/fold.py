"""Ops on constants: arithmetic on shapes, and batch norms that frozen graphs spell out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcu_export.loaders.tf.nodes import TfNode, bounded
from mcu_export.loaders.tf.values import Known
from mcu_export.ops import Array

Fold = Callable[[TfNode, Sequence[Array]], Any]


def _elementwise(function: Callable[..., Any]) -> Fold:
    def fold(node: TfNode, inputs: Sequence[Array]) -> Any:
        bounded(np.broadcast_shapes(*(array.shape for array in inputs)), node.where)
        return np.asarray(function(*inputs), inputs[0].dtype)

    return fold


def _comparison(function: Callable[..., Any]) -> Fold:
    def fold(node: TfNode, inputs: Sequence[Array]) -> Any:
        bounded(np.broadcast_shapes(*(array.shape for array in inputs)), node.where)
        return np.asarray(function(*inputs), np.bool_)

    return fold


def _axes(array: Array) -> tuple[int, ...]:
    return tuple(int(axis) for axis in array.reshape(-1))


def _reduction(function: Callable[..., Any]) -> Fold:
    def fold(node: TfNode, inputs: Sequence[Array]) -> Any:
        keep = node.flag("keep_dims", False)
        reduced = function(inputs[0], axis=_axes(inputs[1]), keepdims=keep)
        return np.asarray(reduced, inputs[0].dtype)

    return fold


def _pack(node: TfNode, inputs: Sequence[Array]) -> Any:
    bounded([len(inputs) * inputs[0].size], node.where)
    return np.stack(inputs, axis=node.integer("axis", 0))


def _concat(node: TfNode, inputs: Sequence[Array]) -> Any:
    bounded([sum(array.size for array in inputs)], node.where)
    return np.concatenate(inputs[:-1], axis=int(inputs[-1]))


def _gather(node: TfNode, inputs: Sequence[Array]) -> Any:
    axis = int(inputs[2]) if len(inputs) > 2 else 0
    bounded([inputs[0].size * max(inputs[1].size, 1)], node.where)
    return np.take(inputs[0], inputs[1], axis=axis)


def _fill(node: TfNode, inputs: Sequence[Array]) -> Any:
    return np.broadcast_to(inputs[1].reshape(()), bounded(_axes(inputs[0]), node.where))


def _range(node: TfNode, inputs: Sequence[Array]) -> Any:
    start, limit, delta = (float(array.item()) for array in inputs)
    bounded([max(0, math.ceil((limit - start) / delta))], node.where)
    return np.arange(start, limit, delta).astype(inputs[0].dtype)


def _slice(node: TfNode, inputs: Sequence[Array]) -> Any:
    array, begins, sizes = inputs
    ends = (None if n < 0 else b + n for b, n in zip(_axes(begins), _axes(sizes), strict=True))
    return array[tuple(slice(b, e) for b, e in zip(_axes(begins), ends, strict=True))]


def strided_slice(node: TfNode, inputs: Sequence[Array]) -> Any:
    """StridedSlice with its bit masks, as documented at ``tf.strided_slice``."""
    array, begins, ends, strides = inputs
    masks = {
        kind: node.integer(f"{kind}_mask", 0)
        for kind in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    index: list[Any] = []
    triples = zip(_axes(begins), _axes(ends), _axes(strides), strict=True)
    for position, (begin, end, stride) in enumerate(triples):
        bit = 1 << position
        if masks["ellipsis"] & bit:
            index.append(Ellipsis)
        elif masks["new_axis"] & bit:
            index.append(None)
        elif masks["shrink_axis"] & bit:
            index.append(begin)
        else:
            first = None if masks["begin"] & bit else begin
            last = None if masks["end"] & bit else end
            index.append(slice(first, last, stride))
    return array[tuple(index)]


def _reciprocal_root(x: Array) -> Any:
    return 1 / np.sqrt(x)


def _divide(x: Array, y: Array) -> Any:
    return np.divide(x, y) if x.dtype.kind == "f" else np.floor_divide(x, y)


def squeezed(node: TfNode, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape that Squeeze leaves."""
    axes = node.integers("squeeze_dims", node.integers("axis"))
    chosen = {range(len(shape))[axis] for axis in axes}
    if any(shape[axis] != 1 for axis in chosen):
        raise ValueError(f"cannot squeeze the axes {axes} of the shape {tuple(shape)}")
    if not axes:
        chosen = {axis for axis, size in enumerate(shape) if size == 1}
    return tuple(size for axis, size in enumerate(shape) if axis not in chosen)


def expanded(axis: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with an axis of size 1 inserted."""
    position = range(len(shape) + 1)[axis]
    return (*shape[:position], 1, *shape[position:])


def resolved(wanted: Sequence[int], elements: int) -> tuple[int, ...]:
    """The shape that Reshape makes of ``wanted``, in which one size may be -1."""
    sizes = [int(size) for size in wanted]
    if sizes.count(-1) == 1:
        rest = math.prod(size for size in sizes if size != -1)
        if rest <= 0 or elements % rest:
            raise ValueError(f"cannot reshape {elements} elements to {sizes}")
        sizes[sizes.index(-1)] = elements // rest
    return tuple(sizes)


# Ops that move no element: the result keeps the provenance of its first input.
LAYOUTS: dict[str, Fold] = {
    "Reshape": lambda node, x: x[0].reshape(resolved(_axes(x[1]), x[0].size)),
    "Squeeze": lambda node, x: x[0].reshape(squeezed(node, x[0].shape)),
    "ExpandDims": lambda node, x: x[0].reshape(expanded(int(x[1]), x[0].shape)),
    "Cast": lambda node, x: x[0].astype(node.dtype("DstT", 1)),
}

FOLDS: dict[str, Fold] = {
    "Add": _elementwise(np.add),
    "AddV2": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "RealDiv": _elementwise(_divide),
    "Div": _elementwise(_divide),
    "FloorDiv": _elementwise(np.floor_divide),
    "FloorMod": _elementwise(np.mod),
    "Maximum": _elementwise(np.maximum),
    "Minimum": _elementwise(np.minimum),
    "Neg": _elementwise(np.negative),
    "Sqrt": _elementwise(np.sqrt),
    "Rsqrt": _elementwise(_reciprocal_root),
    "Square": _elementwise(np.square),
    "Exp": _elementwise(np.exp),
    "Floor": _elementwise(np.floor),
    "Pow": _elementwise(np.power),
    "Equal": _comparison(np.equal),
    "NotEqual": _comparison(np.not_equal),
    "Less": _comparison(np.less),
    "LessEqual": _comparison(np.less_equal),
    "Greater": _comparison(np.greater),
    "GreaterEqual": _comparison(np.greater_equal),
    "LogicalNot": _comparison(np.logical_not),
    "LogicalAnd": _comparison(np.logical_and),
    "LogicalOr": _comparison(np.logical_or),
    "Prod": _reduction(np.prod),
    "Sum": _reduction(np.sum),
    "Mean": _reduction(np.mean),
    "Max": _reduction(np.max),
    "Min": _reduction(np.min),
    "Transpose": lambda node, x: np.transpose(x[0], _axes(x[1])),
    "Pack": _pack,
    "ConcatV2": _concat,
    "Gather": _gather,
    "GatherV2": _gather,
    "Fill": _fill,
    "Range": _range,
    "Slice": _slice,
    "StridedSlice": strided_slice,
    "Shape": lambda node, x: np.asarray(x[0].shape, node.dtype("out_type", 3)),
    "Rank": lambda node, x: np.asarray(x[0].ndim, np.int32),
    "Size": lambda node, x: np.asarray(x[0].size, node.dtype("out_type", 3)),
    "ZerosLike": lambda node, x: np.zeros_like(x[0]),
    "OnesLike": lambda node, x: np.ones_like(x[0]),
}


def fold(node: TfNode, inputs: Sequence[Known]) -> Known | None:
    """The op applied to constants; None where the op is not one for constants."""
    arrays = [known.array for known in inputs]
    with np.errstate(all="ignore"):
        if node.op in LAYOUTS:
            return replace(inputs[0], array=np.asarray(LAYOUTS[node.op](node, arrays)))
        if node.op in FOLDS:
            return Known(np.asarray(FOLDS[node.op](node, arrays)), node.op, tuple(inputs))
    return None
