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
    reduce_max,
    resize_nearest,
    slice_of,
    split,
    split_v,
    strided_slice,
    tile,
    transpose,
    unpack,
)
from mcu_export.loaders.tflite.shapes import FOLDED, resolved
from mcu_export.loaders.tflite.svdf import svdf
from mcu_export.ops import (
    RELU,
    RELU6,
    AveragePool2D,
    Clamp,
    Convert,
    Elu,
    Exponential,
    Gelu,
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
    elements,
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
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the file says what comes out, or computes it."""
    source, number = importer.value(op), op.outputs[0]
    count = elements(importer.builder.shapes[source])
    output = importer.model.tensors[number]
    if output.dynamic:
        computed = op.name == "RESHAPE" and elements(output.shape) != count
        wanted = importer.constant(op, 1).ravel().tolist() if computed else output.shape
        importer.resize(number, resolved(wanted, count))
    importer.add(op, Reshape(importer.shape(importer.model.tensors[number])), [source])


def unsupported(importer: Importer, op: TfliteOperator) -> None:
    """What is not in the table of operators."""
    raise importer.fail(
        op,
        f"the operator {op.name} is not supported",
        "supported are " + ", ".join(sorted({*CONVERT, *FOLDED, "SHAPE"})),
    )


def softmax(importer: Importer, op: TfliteOperator) -> None:
    """SOFTMAX."""
    importer.add(op, Softmax(float(op.option(0, "f"))), [importer.value(op)])


def function(made: Op, importer: Importer, op: TfliteOperator) -> None:
    """An op without options."""
    importer.add(op, made, [importer.value(op)])


def _require_float(importer: Importer, op: TfliteOperator) -> None:
    """Raise in an integer network: the kernels here have other integers than TensorFlow Lite."""
    if importer.quantized:
        raise importer.fail(
            op,
            f"{op.name} is not run in the integers of TensorFlow Lite",
            "export the float network, a .keras or a float .tflite file, and quantize it here",
        )


def float_function(made: Op, importer: Importer, op: TfliteOperator) -> None:
    """An op without options, of float networks only."""
    _require_float(importer, op)
    importer.add(op, made, [importer.value(op)])


def gelu(importer: Importer, op: TfliteOperator) -> None:
    """GELU, of which an option says whether it is the approximate one."""
    float_function(Gelu(approximate=bool(op.integer(0, "?"))), importer, op)


def negate(importer: Importer, op: TfliteOperator) -> None:
    """NEG, as a difference from 0."""
    _require_float(importer, op)
    zero = np.zeros(1, np.float32)
    importer.add(op, Subtract(swapped=True), [importer.value(op)], params={"operand": zero})


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
    "ELU": partial(float_function, Elu()),
    "EXP": partial(float_function, Exponential()),
    "GELU": gelu,
    "NEG": negate,
    "REDUCE_MAX": reduce_max,
    "TILE": tile,
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
