"""The tensors and operators of a ``.tflite`` file, checked and named.

Field numbers are those of TensorFlow Lite's ``schema.fbs``, version 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.base import MAX_ELEMENTS, MAX_NODES
from mcu_export.loaders.tflite.flatbuffer import Table, root
from mcu_export.ops.base import Array, Shape
from mcu_export.schemes.formats import Affine
from mcu_export.schemes.nibbles import unpack_nibbles

FLOAT32, FLOAT16, INT32, INT64, INT16, INT8, INT4 = 0, 1, 2, 4, 7, 9, 17
# Schema number -> numpy type; types that no kernel of ours takes are named in errors only.
DTYPES = {FLOAT32: "<f4", FLOAT16: "<f2", INT32: "<i4", INT64: "<i8", INT16: "<i2", INT8: "i1"}
TYPE_NAMES = {
    **{number: np.dtype(dtype).name for number, dtype in DTYPES.items()},
    **{3: "uint8", 5: "string", 6: "bool", INT4: "int4"},
}
OPERATORS = {
    **{0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D"},
    **{5: "DEPTH_TO_SPACE", 6: "DEQUANTIZE", 7: "EMBEDDING_LOOKUP", 8: "FLOOR"},
    **{9: "FULLY_CONNECTED", 11: "L2_NORMALIZATION", 12: "L2_POOL_2D", 14: "LOGISTIC"},
    **{16: "LSTM", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6"},
    **{22: "RESHAPE", 23: "RESIZE_BILINEAR", 24: "RNN", 25: "SOFTMAX", 26: "SPACE_TO_DEPTH"},
    **{27: "SVDF", 28: "TANH", 32: "CUSTOM", 34: "PAD", 35: "UNIDIRECTIONAL_SEQUENCE_RNN"},
    **{36: "GATHER", 37: "BATCH_TO_SPACE_ND", 38: "SPACE_TO_BATCH_ND", 39: "TRANSPOSE"},
    **{58: "LESS", 61: "GREATER", 64: "SELECT", 69: "TILE", 73: "LOG", 81: "REDUCE_PROD"},
    **{123: "SELECT_V2", 130: "BROADCAST_TO"},
    **{40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE", 44: "UNIDIRECTIONAL_SEQUENCE_LSTM"},
    **{45: "STRIDED_SLICE", 47: "EXP", 49: "SPLIT", 50: "LOG_SOFTMAX", 53: "CAST", 54: "PRELU"},
    **{55: "MAXIMUM", 56: "ARG_MAX", 57: "MINIMUM", 59: "NEG", 60: "PADV2", 65: "SLICE"},
    **{67: "TRANSPOSE_CONV", 70: "EXPAND_DIMS", 74: "SUM", 75: "SQRT", 76: "RSQRT", 77: "SHAPE"},
    **{
        78: "POW",
        82: "REDUCE_MAX",
        83: "PACK",
        88: "UNPACK",
        92: "SQUARE",
        97: "RESIZE_NEAREST_NEIGHBOR",
    },
    **{98: "LEAKY_RELU", 99: "SQUARED_DIFFERENCE", 100: "MIRROR_PAD", 101: "ABS", 102: "SPLIT_V"},
    **{
        111: "ELU",
        114: "QUANTIZE",
        117: "HARD_SWISH",
        118: "IF",
        119: "WHILE",
        126: "BATCH_MATMUL",
    },
    **{129: "CALL_ONCE", 142: "VAR_HANDLE", 143: "READ_VARIABLE", 144: "ASSIGN_VARIABLE"},
    **{150: "GELU"},
}


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    """A tensor: its name, shape with the batch, type, constant data and quantization.

    ``scales`` is empty for a tensor without quantization. In a ``dynamic`` one sizes are 1 that
    the file leaves open: the batch, and what is computed from it.
    """

    name: str
    shape: Shape
    type: int
    data: Array | None
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    variable: bool
    dynamic: bool = False

    @property
    def rows(self) -> bool:
        """Whether the leading axis is no batch of 1: steps of a sequence, one after the other."""
        return len(self.shape) > 1 and self.shape[0] != 1

    @property
    def type_name(self) -> str:
        """``int8`` and so on."""
        return TYPE_NAMES.get(self.type, f"type {self.type}")

    def affine(self) -> Affine | None:
        """The format of an int8 or int16 tensor with one scale, else None."""
        if self.type not in (INT8, INT16) or len(self.scales) != 1:
            return None
        return Affine(8 if self.type == INT8 else 16, self.scales[0], self.zero_points[0])


@dataclass(frozen=True, eq=False)
class TfliteOperator:
    """An operator: name, options, tensor numbers of inputs (-1: none) and outputs."""

    index: int
    name: str
    options: Table | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def option(self, number: int, layout: str, default: float = 0) -> int | float:
        """A number among the options; the default where there are none."""
        return self.options.scalar(number, layout, default) if self.options else default

    def integer(self, number: int, layout: str = "i", default: int = 0) -> int:
        """An integer among the options."""
        return int(self.option(number, layout, default))


@dataclass(frozen=True, eq=False)
class TfliteModel:
    """All of a file that has one graph."""

    source: str
    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: tuple[str, ...] = field(default=())


def read_tflite(path: Path) -> TfliteModel:
    """Read and check a ``.tflite`` file.

    Raises:
        ModelFileError: it is damaged.
        UnsupportedLayerError: it has several graphs.
    """
    source = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read the model: {error.strerror}", where=source) from error
    model = root(data, source)
    graphs = model.tables(2, MAX_NODES)
    if len(graphs) != 1:
        raise UnsupportedLayerError(
            f"the file has {len(graphs)} graphs",
            where=source,
            fix="convert a network without conditions and loops",
        )
    buffers = model.tables(4, 4 * MAX_NODES)
    codes = [_operator_name(code) for code in model.tables(1, MAX_NODES)]
    tensors = tuple(_tensor(table, buffers) for table in graphs[0].tables(0, 4 * MAX_NODES))
    operators = tuple(
        _operator(index, table, codes, len(tensors))
        for index, table in enumerate(graphs[0].tables(3, MAX_NODES))
    )
    inputs, outputs = graphs[0].integers(1), graphs[0].integers(2)
    if any(not 0 <= number < len(tensors) for number in inputs + outputs):
        raise graphs[0].damaged("an input or output does not exist")
    return TfliteModel(source, tensors, operators, inputs, outputs)


def _operator_name(code: Table) -> str:
    """The number moved from a byte to an int when it outgrew the byte."""
    number = max(code.integer(3), code.integer(0, "b"))
    name = OPERATORS.get(number, f"number {number}")
    return f"CUSTOM {code.text(1)}" if name == "CUSTOM" else name


def _operator(index: int, table: Table, codes: list[str], tensors: int) -> TfliteOperator:
    code = table.integer(0, "I")
    inputs, outputs = table.integers(1), table.integers(2)
    if code >= len(codes) or any(not -1 <= number < tensors for number in inputs + outputs):
        raise table.damaged(f"operator {index} reads what does not exist")
    if not outputs or -1 in outputs:
        raise table.damaged(f"operator {index} has no output")
    return TfliteOperator(index, codes[code], table.table(4), inputs, outputs)


def _tensor(table: Table, buffers: list[Table]) -> TfliteTensor:
    shape = table.integers(0)
    if any(size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise table.damaged(f"tensor {table.text(3)!r} has the shape {shape}")
    kind = table.integer(1, "b")
    number = table.integer(2, "I")
    if number >= len(buffers):
        raise table.damaged(f"tensor {table.text(3)!r} has no buffer")
    quantization = table.table(4)
    scales = quantization.array(2, "<f4") if quantization else None
    zeros = quantization.array(3, "<i8") if quantization else None
    scales = np.zeros(0, np.float32) if scales is None else scales
    zeros = np.zeros(len(scales), np.int64) if zeros is None else zeros
    good = np.all(np.isfinite(scales)) and np.all(scales > 0) and len(zeros) == len(scales)
    if not good or (zeros.size and np.abs(zeros).max() > 2**15):
        raise table.damaged(f"tensor {table.text(3)!r} has no usable scale")
    return TfliteTensor(
        name=table.text(3),
        shape=shape,
        type=kind,
        data=_constant(table, kind, shape, buffers[number]),
        scales=tuple(float(v) for v in scales),
        zero_points=tuple(int(v) for v in zeros),
        axis=quantization.integer(6) if quantization else 0,
        variable=bool(table.integer(5, "?")),
        dynamic=any(size < 0 for size in table.integers(7)),
    )


def _constant(table: Table, kind: int, shape: Shape, buffer: Table) -> Array | None:
    """The data of a constant in its shape; None for an activation or an unknown type.

    Integers of 4 bits, two in a byte, come as int8.
    """
    if kind not in (*DTYPES, INT4):
        return None
    found = buffer.array(0, "u1")
    if found is None or not found.size:
        return None
    count, dtype = math.prod(shape), np.dtype(DTYPES.get(kind, "i1"))
    if found.size != (-(-count // 2) if kind == INT4 else count * dtype.itemsize):
        raise table.damaged(f"constant {table.text(3)!r} has {found.size} bytes for {shape}")
    if kind == INT4:
        return unpack_nibbles(found, count).reshape(shape)
    return found.view(dtype).reshape(shape)
