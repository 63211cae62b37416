"""TensorFlow Lite operators on two operands, element by element, the second perhaps a constant."""

from __future__ import annotations

import numpy as np

from mcu_export.loaders.tflite.importer import Importer
from mcu_export.loaders.tflite.layers import activation
from mcu_export.loaders.tflite.model import TfliteOperator
from mcu_export.ops import (
    Add,
    Array,
    Maximum,
    Minimum,
    Multiply,
    Op,
    Plus,
    PRelu,
    Reshape,
    Subtract,
)


def binary(kind: type[Plus | Subtract | Multiply], importer: Importer, op: TfliteOperator) -> None:
    """ADD, SUB, MUL of two values, or of a value and a constant."""
    limits = activation(importer, op, 0)
    constant = _constant_position(importer, op)
    if constant is None:
        shapes = {importer.builder.shapes[importer.value(op, position)] for position in (0, 1)}
        same = kind is Plus and len(shapes) == 1
        _add_operands(importer, op, Add(limits) if same else kind(limits), None)
    elif kind is Subtract and constant == 0:
        _add_operands(importer, op, Subtract(limits, swapped=True), constant)
    else:
        _add_operands(importer, op, kind(limits), constant)


def select(kind: type[Maximum | Minimum], importer: Importer, op: TfliteOperator) -> None:
    """MAXIMUM, MINIMUM: the kernels compare integers, so all formats must be equal."""
    if importer.quantized:
        numbers = (*op.inputs[:2], op.outputs[0])
        formats = {importer.format(importer.model.tensors[number]) for number in numbers}
        if len(formats) > 1:
            texts = " and ".join(sorted(fmt.text() for fmt in formats))
            raise importer.fail(
                op,
                f"its inputs and output are {texts}; TensorFlow Lite compares their integers",
                "quantize the network with a current TensorFlow Lite converter",
            )
    _add_operands(importer, op, kind(), _constant_position(importer, op))


def _constant_position(importer: Importer, op: TfliteOperator) -> int | None:
    constant = [p for p in (0, 1) if importer.tensor(op, p).data is not None]
    return constant[0] if constant else None


def _add_operands(importer: Importer, op: TfliteOperator, made: Op, constant: int | None) -> None:
    """A node of two values, or of the value that is not at the position ``constant``."""
    if constant is None:
        importer.add(op, made, [importer.value(op, 0), importer.value(op, 1)])
        return
    tensor, data = importer.tensor(op, constant), importer.constant(op, constant)
    data = _without_batch(data, len(importer.tensor(op, 1 - constant).shape))
    source = importer.value(op, 1 - constant)
    if importer.quantized:
        constants = {"operand": (data.astype(np.int64), importer.format(tensor))}
        importer.add(op, made, [source], constants)
    else:
        importer.add(op, made, [source], params={"operand": data})


def _without_batch(data: Array, rank: int) -> Array:
    """A constant operand without the leading axis, where that is the batch of the other operand."""
    return data[0] if data.ndim == rank > 1 and len(data) == 1 else data


def prelu(importer: Importer, op: TfliteOperator) -> None:
    """PRELU with one slope for each channel, or one for all; in float one for each element, too."""
    source, tensor, alpha = importer.value(op), importer.tensor(op, 1), importer.constant(op, 1)
    if alpha.size not in (1, alpha.shape[-1] if alpha.ndim else 1):
        _prelu_of_elements(importer, op, source, alpha)
        return
    alpha = alpha.ravel()
    if importer.quantized:
        constants = {"alpha": (alpha.astype(np.int64), importer.format(tensor))}
        importer.add(op, PRelu(), [source], constants)
    else:
        importer.add(op, PRelu(), [source], params={"alpha": alpha})


def _prelu_of_elements(importer: Importer, op: TfliteOperator, source: str, alpha: Array) -> None:
    """The elements become the channels of a vector."""
    if importer.quantized:
        raise importer.fail(
            op,
            f"has slopes of shape {alpha.shape}",
            "share the slopes over height and width (shared_axes=[1, 2])",
        )
    shape = importer.builder.shapes[source]
    slopes: Array = np.broadcast_to(_without_batch(alpha, len(shape) + 1), shape).ravel()
    name = f"{importer.model.tensors[op.outputs[0]].name}/part"
    flat = importer.between(name, Reshape((slopes.size,)), [source], None)
    made = importer.builder.add(name, PRelu(), [flat], {"alpha": slopes})
    importer.add(op, Reshape(shape), [made])
