"""TensorFlow Lite operators without weights, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mcu_export.loaders.tflite.elements import binary, prelu, select
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
from mcu_export.loaders.tflite.moves import (
    concatenate,
    gather,
    mean,
    pack,
    pad,
    resize_nearest,
    slice_of,
    split,
    split_v,
    strided_slice,
    transpose,
    unpack,
)
from mcu_export.loaders.tflite.svdf import svdf
from mcu_export.ops import (
    RELU,
    RELU6,
    AveragePool2D,
    Clamp,
    Convert,
    HardSwish,
    LeakyRelu,
    Limits,
    Logistic,
    Maximum,
    MaxPool2D,
    Minimum,
    Multiply,
    Op,
    Plus,
    Reshape,
    Softmax,
    Subtract,
    Tanh,
)
from mcu_export.schemes.affine_layers import requantize
from mcu_export.schemes.affine_task import AffineValue
from mcu_export.schemes.fixed_point import rescale

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


def function(made: Op, importer: Importer, op: TfliteOperator) -> None:
    """An op without options."""
    importer.add(op, made, [importer.value(op)])


def leaky_relu(importer: Importer, op: TfliteOperator) -> None:
    """LEAKY_RELU."""
    importer.add(op, LeakyRelu(float(op.option(0, "f"))), [importer.value(op)])


def quantize(importer: Importer, op: TfliteOperator) -> None:
    """QUANTIZE: of the float input it is nothing, between integers it is a conversion."""
    if importer.tensor(op, 0).data is not None:
        _quantize_constant(importer, op)
        return
    source = importer.value(op)
    fmt = importer.model.tensors[op.outputs[0]].affine()
    if importer.formats.get(source) == fmt:
        importer.values[op.outputs[0]] = source
    else:
        importer.add(op, Convert(), [source])


def _quantize_constant(importer: Importer, op: TfliteOperator) -> None:
    """A constant in another format, by the integers of the kernel."""
    tensor, number = importer.tensor(op, 0), op.outputs[0]
    before, after = importer.format(tensor), importer.format(importer.model.tensors[number])
    integers = importer.constant(op, 0).astype(np.int64)
    made = requantize(
        AffineValue(before, before.lowest, before.highest), after, after.lowest, after.highest
    )
    scaled = rescale(integers + made.input_offset, made.multiplier, made.shift, "double")
    importer.fold(number, np.clip(scaled + made.output_offset, made.low, made.high))


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
    "MAXIMUM": partial(select, Maximum),
    "MINIMUM": partial(select, Minimum),
    "PRELU": prelu,
    "RELU": partial(function, Clamp(RELU)),
    "RELU6": partial(function, Clamp(RELU6)),
    "RELU_N1_TO_1": partial(function, Clamp(Limits(-1.0, 1.0))),
    "LOGISTIC": partial(function, Logistic()),
    "TANH": partial(function, Tanh()),
    "HARD_SWISH": partial(function, HardSwish()),
    "LEAKY_RELU": leaky_relu,
    "SOFTMAX": softmax,
    "SVDF": svdf,
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
    "SPLIT_V": split_v,
    "UNPACK": unpack,
    "PACK": pack,
    "GATHER": gather,
    "SLICE": slice_of,
    "STRIDED_SLICE": strided_slice,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
}
