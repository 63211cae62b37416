"""TensorFlow Lite operators without weights, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mcu_export.loaders.tflite.importer import Importer
from mcu_export.loaders.tflite.layers import (
    activation,
    conv2d,
    depthwise_conv2d,
    fully_connected,
    transpose_conv2d,
    window_padding,
)
from mcu_export.loaders.tflite.model import TfliteOperator
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Clamp,
    Concatenate,
    Convert,
    Gather,
    HardSwish,
    LeakyRelu,
    Limits,
    Logistic,
    MaxPool2D,
    Mean,
    Multiply,
    Op,
    Pad,
    Padding,
    Plus,
    Reshape,
    Softmax,
    Subtract,
    Tanh,
    Transpose,
)

Importing = Callable[[Importer, TfliteOperator], None]


def pool(kind: type[AveragePool2D | MaxPool2D], importer: Importer, op: TfliteOperator) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    source = importer.value(op)
    strides = op.integer(2), op.integer(1)
    kernel = op.integer(4), op.integer(3)
    padding = window_padding(op, importer.builder.shapes[source], kernel, strides)
    importer.add(op, kind(kernel, strides, padding, activation(importer, op, 5)), [source])


def reshape(importer: Importer, op: TfliteOperator) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the file says what comes out."""
    output = importer.model.tensors[op.outputs[0]]
    importer.add(op, Reshape(importer.shape(output)), [importer.value(op)])


def softmax(importer: Importer, op: TfliteOperator) -> None:
    """SOFTMAX."""
    importer.add(op, Softmax(float(op.option(0, "f"))), [importer.value(op)])


def pad(importer: Importer, op: TfliteOperator) -> None:
    """PAD and PADV2 with zeros, of height and width."""
    source = importer.value(op)
    amounts = importer.constant(op, 1).tolist()
    outer = [0, 0]
    if len(amounts) != 4 or amounts[0] != outer or amounts[3] != outer or np.min(amounts) < 0:
        raise importer.fail(op, f"pads {amounts}; only height and width of an image can be padded")
    if len(op.inputs) > 2:
        fmt = importer.formats.get(source)
        zero = fmt.zero_point if fmt else 0
        if np.any(importer.constant(op, 2) != zero):
            raise importer.fail(op, "pads with another value than zero")
    (top, bottom), (left, right) = amounts[1:3]
    importer.add(op, Pad(Padding(top, bottom, left, right)), [source])


def function(made: Op, importer: Importer, op: TfliteOperator) -> None:
    """An op without options."""
    importer.add(op, made, [importer.value(op)])


def leaky_relu(importer: Importer, op: TfliteOperator) -> None:
    """LEAKY_RELU."""
    importer.add(op, LeakyRelu(float(op.option(0, "f"))), [importer.value(op)])


def quantize(importer: Importer, op: TfliteOperator) -> None:
    """QUANTIZE: of the float input it is nothing, between integers it is a conversion."""
    source = importer.value(op)
    fmt = importer.model.tensors[op.outputs[0]].affine()
    if importer.formats.get(source) == fmt:
        importer.values[op.outputs[0]] = source
    else:
        importer.add(op, Convert(), [source])


def dequantize(importer: Importer, op: TfliteOperator) -> None:
    """DEQUANTIZE: only behind the last layer, where the integers are the output."""
    if not importer.quantized or op.outputs[0] not in importer.model.outputs:
        tensor = importer.tensor(op, 0)
        raise importer.fail(
            op,
            f"{tensor.name!r} ({tensor.type_name}) becomes float inside of the network",
            "convert with full integer quantization",
        )
    importer.values[op.outputs[0]] = importer.value(op)


def binary(kind: type[Plus | Subtract | Multiply], importer: Importer, op: TfliteOperator) -> None:
    """ADD, SUB, MUL of two values, or of a value and a constant."""
    limits = activation(importer, op, 0)
    constant = [p for p in (0, 1) if importer.tensor(op, p).data is not None]
    if not constant:
        names = [importer.value(op, 0), importer.value(op, 1)]
        shapes = {importer.builder.shapes[name] for name in names}
        same = kind is Plus and len(shapes) == 1
        importer.add(op, Add(limits) if same else kind(limits), names)
        return
    position = constant[0]
    made: Op = kind(limits)
    if kind is Subtract and position == 0:
        made = Subtract(limits, swapped=True)
    tensor, data = importer.tensor(op, position), importer.constant(op, position)
    data = data.reshape(data.shape[1:] if data.ndim > 3 and len(data) == 1 else data.shape)
    source = importer.value(op, 1 - position)
    if importer.quantized:
        constants = {"operand": (data.astype(np.int64), importer.format(tensor))}
        importer.add(op, made, [source], constants)
    else:
        importer.add(op, made, [source], params={"operand": data})


def concatenate(importer: Importer, op: TfliteOperator) -> None:
    """CONCATENATION along any axis but the batch."""
    sources = [importer.value(op, position) for position in range(len(op.inputs))]
    rank = len(importer.builder.shapes[sources[0]]) + 1
    axis = op.integer(0) % rank - 1
    if axis < 0 or op.integer(1, "b"):
        raise importer.fail(op, "joins along the batch, or has a fused activation")
    importer.add(op, Concatenate(axis), sources)


def mean(importer: Importer, op: TfliteOperator) -> None:
    """MEAN over height and width; the shape that the file says tells whether they are kept."""
    source = importer.value(op)
    axes = sorted(int(axis) % 4 for axis in importer.constant(op, 1).ravel())
    if axes != [1, 2] or len(importer.builder.shapes[source]) != 3:
        raise importer.fail(op, f"takes the mean over the axes {axes}; only height and width")
    output = importer.model.tensors[op.outputs[0]]
    shape = importer.shape(output)
    if len(shape) == 1:
        importer.add(op, Mean(), [source])
        return
    fmt = importer.format(output) if importer.quantized else None
    name = importer.between(f"{output.name}/mean", Mean(), source, fmt)
    importer.add(op, Reshape(shape), [name])


def transpose(importer: Importer, op: TfliteOperator) -> None:
    """TRANSPOSE that leaves the batch where it is."""
    order = [int(axis) for axis in importer.constant(op, 1).ravel()]
    if not order or order[0] != 0:
        raise importer.fail(op, f"moves the batch: {order}")
    importer.add(op, Transpose(tuple(axis - 1 for axis in order[1:])), [importer.value(op)])


def split(importer: Importer, op: TfliteOperator) -> None:
    """SPLIT into equal parts: one node for each output."""
    source = importer.value(op, 1)
    shape = importer.builder.shapes[source]
    axis = int(importer.constant(op, 0).ravel()[0]) % (len(shape) + 1) - 1
    count = len(op.outputs)
    if axis < 0 or shape[axis] % count:
        raise importer.fail(op, f"cannot split {shape} into {count} parts")
    size = shape[axis] // count
    for part in range(count):
        chosen = [tuple(range(length)) for length in shape]
        chosen[axis] = tuple(range(part * size, (part + 1) * size))
        importer.add(op, Gather(tuple(chosen)), [source], output=part)


def strided_slice(importer: Importer, op: TfliteOperator) -> None:
    """STRIDED_SLICE with constant begin, end and stride; axes of size 1 may be dropped."""
    source = importer.value(op)
    shape = (1, *importer.builder.shapes[source])
    begin, end, stride = (importer.constant(op, i).ravel().tolist() for i in (1, 2, 3))
    begin_mask, end_mask, ellipsis, new_axis, shrink = (op.integer(i) for i in range(5))
    if ellipsis or new_axis or shrink & 1 or not len(begin) == len(end) == len(stride):
        raise importer.fail(op, "an ellipsis, a new axis or a dropped batch is not supported")
    chosen = []
    for axis, size in enumerate(shape):
        if axis >= len(begin):
            chosen.append(tuple(range(size)))
            continue
        bit = 1 << axis
        first = None if begin_mask & bit else begin[axis]
        last = None if end_mask & bit else end[axis]
        part = slice(first, last, stride[axis])
        if shrink & bit:
            part = slice(begin[axis] % size, begin[axis] % size + 1)
        chosen.append(tuple(range(size)[part]))
    gathered = Gather(tuple(chosen[1:]))
    _add_reshaped(importer, op, gathered, source)


def _add_reshaped(importer: Importer, op: TfliteOperator, made: Op, source: str) -> None:
    """``made``, and a reshape where the file drops axes of size 1 that ``made`` keeps."""
    shapes = importer.builder.shapes
    shape = importer.shape(importer.model.tensors[op.outputs[0]])
    if made.infer([shapes[source]], {}) == shape:
        importer.add(op, made, [source])
        return
    name = f"{importer.model.tensors[op.outputs[0]].name}/part"
    part = importer.between(name, made, source, importer.formats.get(source))
    importer.add(op, Reshape(shape), [part])


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


CONVERT: dict[str, Importing] = {
    "CONV_2D": conv2d,
    "DEPTHWISE_CONV_2D": depthwise_conv2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv2d,
    "AVERAGE_POOL_2D": partial(pool, AveragePool2D),
    "MAX_POOL_2D": partial(pool, MaxPool2D),
    "ADD": partial(binary, Plus),
    "SUB": partial(binary, Subtract),
    "MUL": partial(binary, Multiply),
    "RELU": partial(function, Clamp(RELU)),
    "RELU6": partial(function, Clamp(RELU6)),
    "RELU_N1_TO_1": partial(function, Clamp(Limits(-1.0, 1.0))),
    "LOGISTIC": partial(function, Logistic()),
    "TANH": partial(function, Tanh()),
    "HARD_SWISH": partial(function, HardSwish()),
    "LEAKY_RELU": leaky_relu,
    "SOFTMAX": softmax,
    "RESHAPE": reshape,
    "SQUEEZE": reshape,
    "EXPAND_DIMS": reshape,
    "PAD": pad,
    "PADV2": pad,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "CONCATENATION": concatenate,
    "MEAN": mean,
    "TRANSPOSE": transpose,
    "SPLIT": split,
    "STRIDED_SLICE": strided_slice,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
}
