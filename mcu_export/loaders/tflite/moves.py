"""TensorFlow Lite operators that pad, choose, join and reorder, and the mean over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mcu_export.loaders.tflite.importer import Importer
from mcu_export.loaders.tflite.model import TfliteOperator
from mcu_export.loaders.tflite.shapes import slices
from mcu_export.ops import (
    AveragePool2D,
    Concatenate,
    Gather,
    MaxPool2D,
    Mean,
    Op,
    Pad,
    Padding,
    Reshape,
    Shape,
    Transpose,
    elements,
)
from mcu_export.schemes.formats import Affine

Part = tuple[Op, Affine | None]


def add_chain(
    importer: Importer, op: TfliteOperator, source: str, parts: Sequence[Part], output: int = 0
) -> None:
    """Layers one after the other, each with the format of its output; the last is the operator's.

    Reshapes that change nothing are left out.
    """
    shapes = importer.builder.shapes
    name = f"{importer.model.tensors[op.outputs[output]].name}/part"
    *first, (last, _) = parts
    for made, fmt in first:
        if not (isinstance(made, Reshape) and made.shape == shapes[source]):
            source = importer.between(name, made, [source], fmt)
    importer.add(op, last, [source], output=output)


def _moved(
    importer: Importer, op: TfliteOperator, source: str, ops: Sequence[Op], output: int = 0
) -> None:
    """A chain of layers that keep the format, and a reshape to the shape that the file says."""
    fmt = importer.formats.get(source)
    shape = importer.shape(importer.model.tensors[op.outputs[output]])
    made = importer.builder.shapes[source]
    for each in ops:
        made = each.infer([made], {})
    parts = [(each, fmt) for each in ops]
    if made != shape:
        parts.append((Reshape(shape), fmt))
    add_chain(importer, op, source, parts, output)


def pad(importer: Importer, op: TfliteOperator) -> None:
    """PAD and PADV2: one layer for height and width, else one for each axis that is padded."""
    source = importer.value(op)
    shape = importer.builder.shapes[source]
    amounts = [(int(a), int(b)) for a, b in importer.constant(op, 1).reshape(-1, 2)]
    if len(amounts) != len(shape) + 1 or any(amounts[0]) or np.min(amounts) < 0:
        raise importer.fail(op, f"pads {shape} by {amounts}; the batch cannot be padded")
    value = _pad_value(importer, op, source)
    own = amounts[1:]
    if len(shape) == 3 and not any(own[2]):
        _moved(importer, op, source, [Pad(Padding(*own[0], *own[1]), value)])
        return
    ops: list[Op] = []
    for axis, (before, after) in enumerate(own):
        if before or after:
            ops.append(Reshape((elements(shape[:axis]), shape[axis], elements(shape[axis + 1 :]))))
            ops.append(Pad(Padding(0, 0, before, after), value))
            shape = (*shape[:axis], shape[axis] + before + after, *shape[axis + 1 :])
    _moved(importer, op, source, ops or [Reshape(shape)])


def _pad_value(importer: Importer, op: TfliteOperator, source: str) -> float:
    """The real value of the third operand, whose integer stands for it in the input's format."""
    if len(op.inputs) < 3:
        return 0.0
    (value,) = importer.constant(op, 2).ravel()
    fmt = importer.formats.get(source)
    return float(fmt.dequantize(value) if fmt else value)


def concatenate(importer: Importer, op: TfliteOperator) -> None:
    """CONCATENATION along any axis but the batch."""
    sources = [importer.value(op, position) for position in range(len(op.inputs))]
    rank = len(importer.builder.shapes[sources[0]]) + 1
    axis = op.integer(0) % rank - 1
    if axis < 0 or op.integer(1, "b"):
        raise importer.fail(op, "joins along the batch, or has a fused activation")
    importer.add(op, Concatenate(axis), sources)


def mean(importer: Importer, op: TfliteOperator) -> None:
    """MEAN over any axes; in float it is an average pooling, which every scheme runs."""
    if importer.quantized:
        _reduce(importer, op, lambda size: Mean())
    else:
        _reduce(importer, op, lambda size: AveragePool2D(size, size))


def reduce_max(importer: Importer, op: TfliteOperator) -> None:
    """REDUCE_MAX over any axes."""
    _reduce(importer, op, lambda size: MaxPool2D(size, size))


def _reduce(
    importer: Importer, op: TfliteOperator, reduce: Callable[[tuple[int, int]], Op]
) -> None:
    """The reduced axes come first, and become the height of an image of width 1.

    An image whose height and width are reduced stays as it is.
    """
    source = importer.value(op)
    shape = importer.builder.shapes[source]
    axes = sorted({int(axis) % (len(shape) + 1) - 1 for axis in importer.constant(op, 1).ravel()})
    if not axes or axes[0] < 0:
        raise importer.fail(op, "reduces the batch, or no axis")
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    output = importer.model.tensors[op.outputs[0]]
    before = importer.formats.get(source)
    after = importer.format(output) if importer.quantized else None
    parts: list[Part] = []
    if axes + kept != list(range(len(shape))):
        parts.append((Transpose((*axes, *kept)), before))
    size = (shape[0], shape[1]) if len(shape) == 3 and axes == [0, 1] else None
    if size is None:
        size = (elements(tuple(shape[axis] for axis in axes)), 1)
        parts.append((Reshape((*size, elements(shape) // size[0])), before))
    made = reduce(size)
    parts.append((made, after))
    wanted = importer.shape(output)
    if wanted != made.infer([(*size, elements(shape) // elements(size))], {}):
        parts.append((Reshape(wanted), after))
    add_chain(importer, op, source, parts)


def transpose(importer: Importer, op: TfliteOperator) -> None:
    """TRANSPOSE that leaves the batch where it is."""
    order = [int(axis) for axis in importer.constant(op, 1).ravel()]
    if not order or order[0] != 0:
        raise importer.fail(op, f"moves the batch: {order}")
    importer.add(op, Transpose(tuple(axis - 1 for axis in order[1:])), [importer.value(op)])


def split(importer: Importer, op: TfliteOperator) -> None:
    """SPLIT into equal parts."""
    source = importer.value(op, 1)
    axis = _axis(importer, op, source, int(importer.constant(op, 0).ravel()[0]))
    size, count = importer.builder.shapes[source][axis], len(op.outputs)
    _split(importer, op, source, axis, [size // count] * count)


def split_v(importer: Importer, op: TfliteOperator) -> None:
    """SPLIT_V into parts of given sizes, of which one may be -1: what the others leave."""
    source = importer.value(op)
    axis = _axis(importer, op, source, int(importer.constant(op, 2).ravel()[0]))
    sizes = [int(size) for size in importer.constant(op, 1).ravel()]
    rest = importer.builder.shapes[source][axis] - sum(size for size in sizes if size >= 0)
    _split(importer, op, source, axis, [rest if size == -1 else size for size in sizes])


def unpack(importer: Importer, op: TfliteOperator) -> None:
    """UNPACK: each index of an axis by itself, without the axis."""
    source = importer.value(op)
    axis = _axis(importer, op, source, op.integer(1))
    _split(importer, op, source, axis, [1] * len(op.outputs))


def _axis(importer: Importer, op: TfliteOperator, source: str, axis: int) -> int:
    """The axis without the batch."""
    rank = len(importer.builder.shapes[source]) + 1
    if not -rank <= axis < rank or axis % rank == 0:
        raise importer.fail(op, f"works along axis {axis}; the batch must stay whole")
    return axis % rank - 1


def _split(
    importer: Importer, op: TfliteOperator, source: str, axis: int, sizes: Sequence[int]
) -> None:
    """One node for each output."""
    shape = importer.builder.shapes[source]
    if sum(sizes) != shape[axis] or len(sizes) != len(op.outputs) or min(sizes) < 1:
        raise importer.fail(op, f"cannot split {shape} along axis {axis} into {list(sizes)}")
    start = 0
    for output, size in enumerate(sizes):
        taken = _part(shape, axis, range(start, start + size))
        _moved(importer, op, source, [taken], output)
        start += size


def _part(shape: Shape, axis: int, indices: Sequence[int]) -> Gather:
    chosen = [tuple(range(length)) for length in shape]
    chosen[axis] = tuple(indices)
    return Gather(tuple(chosen))


def pack(importer: Importer, op: TfliteOperator) -> None:
    """PACK: tensors side by side along a new axis."""
    sources = [importer.value(op, position) for position in range(len(op.inputs))]
    shape = importer.builder.shapes[sources[0]]
    rank = len(shape) + 2
    axis = op.integer(1) % rank - 1
    if axis < 0:
        raise importer.fail(op, "stacks along the batch")
    output = importer.model.tensors[op.outputs[0]]
    widened = [
        importer.between(
            f"{output.name}/part",
            Reshape((*shape[:axis], 1, *shape[axis:])),
            [source],
            importer.formats.get(source),
        )
        for source in sources
    ]
    importer.add(op, Concatenate(axis), widened)


def gather(importer: Importer, op: TfliteOperator) -> None:
    """GATHER with constant indices along one axis."""
    source = importer.value(op)
    axis, shape = _axis(importer, op, source, op.integer(0)), importer.builder.shapes[source]
    indices = [int(index) for index in importer.constant(op, 1).ravel()]
    _moved(importer, op, source, [_part(shape, axis, indices)])


def slice_of(importer: Importer, op: TfliteOperator) -> None:
    """SLICE with constant begin and size; a size of -1 goes to the end."""
    source = importer.value(op)
    shape = (1, *importer.builder.shapes[source])
    begin, size = (importer.constant(op, position).ravel().tolist() for position in (1, 2))
    ends = [
        whole if count == -1 else first + count
        for first, count, whole in zip(begin, size, shape, strict=True)
    ]
    chosen = [tuple(range(first, end)) for first, end in zip(begin, ends, strict=True)]
    _moved(importer, op, source, [Gather(tuple(chosen[1:]))])


def strided_slice(importer: Importer, op: TfliteOperator) -> None:
    """STRIDED_SLICE with constant begin, end and stride; axes of size 1 may be dropped."""
    source = importer.value(op)
    shape = (1, *importer.builder.shapes[source])
    taken = slices(op, shape, [importer.constant(op, position) for position in (1, 2, 3)])
    if taken and isinstance(taken[0], int):
        raise importer.fail(op, "drops the batch, which is not supported")
    chosen = []
    for axis, size in enumerate(shape):
        part = taken[axis] if axis < len(taken) else slice(None)
        if isinstance(part, int):
            part = slice(part % size, part % size + 1)
        chosen.append(tuple(range(size)[part]))
    _moved(importer, op, source, [Gather(tuple(chosen[1:]))])


def tile(importer: Importer, op: TfliteOperator) -> None:
    """TILE: every axis but the batch some times over."""
    source = importer.value(op)
    shape = importer.builder.shapes[source]
    batch, *counts = importer.constant(op, 1).ravel().tolist()
    if batch != 1 or len(counts) != len(shape) or min(counts, default=1) < 1:
        raise importer.fail(op, f"repeats {shape} by {(batch, *counts)}; the batch must stay 1")
    chosen = tuple(tuple(range(n)) * count for n, count in zip(shape, counts, strict=True))
    _moved(importer, op, source, [Gather(chosen)])


def resize_nearest(importer: Importer, op: TfliteOperator) -> None:
    """RESIZE_NEAREST_NEIGHBOR: which source row and column each output takes, in float32."""
    source = importer.value(op)
    shape = importer.builder.shapes[source]
    sizes = [int(v) for v in importer.constant(op, 1).ravel()]
    if len(shape) != 3 or len(sizes) != 2 or min(sizes) < 1:
        raise importer.fail(op, f"resizes {shape} to {sizes}; only images can be resized")
    corners, half = bool(op.integer(0, "?")), bool(op.integer(1, "?"))
    rows = _nearest(shape[0], sizes[0], corners, half)
    columns = _nearest(shape[1], sizes[1], corners, half)
    importer.add(op, Gather((rows, columns, tuple(range(shape[2])))), [source])


def _nearest(size: int, wanted: int, corners: bool, half: bool) -> tuple[int, ...]:
    """For each output index the input index, computed as TFLite's kernel does."""
    f = np.float32
    scale = f(size - 1) / f(wanted - 1) if corners and wanted > 1 else f(size) / f(wanted)
    at = (np.arange(wanted).astype(f) + f(0.5 if half else 0)) * scale
    index = np.floor(at + f(0.5)) if corners else np.floor(at)
    return tuple(int(i) for i in np.clip(index, 0, size - 1))
