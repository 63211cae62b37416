""".tflite files that TensorFlow's converter does not make: its own, changed through its schema."""

from __future__ import annotations

from collections.abc import Callable

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

INT4 = schema.TensorType.INT4


def edited(content: bytes, change: Callable[[schema.ModelT], None]) -> bytes:
    """The file after ``change`` of the model in it."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    change(model)
    return packed(model)


def packed(model: schema.ModelT) -> bytes:
    """The file of a model."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_four_bit_weights(model: schema.ModelT) -> None:
    """All int8 weights of conv, depthwise and dense layers as their upper 4 bits, rounded."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in (3, 4, 9):  # CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED
            continue
        tensor = graph.tensors[operator.inputs[1]]
        buffer = model.buffers[tensor.buffer]
        wide = np.asarray(buffer.data, np.uint8).view(np.int8).astype(np.int64)
        small = np.clip(np.round(wide / 16), -8, 7).astype(np.int64) & 15
        even = np.pad(small, (0, small.size % 2)).reshape(-1, 2)
        buffer.data = (even[:, 0] | even[:, 1] << 4).astype(np.uint8)
        tensor.type = INT4
        tensor.quantization.scale = (np.asarray(tensor.quantization.scale) * 16).astype(np.float32)


def with_axes_that_exist(model: schema.ModelT) -> None:
    """Old converters name axis 3 for every scale, which the interpreter of today refuses."""
    for tensor in model.subgraphs[0].tensors:
        quantization = tensor.quantization
        if quantization and quantization.quantizedDimension >= len(tensor.shape):
            quantization.quantizedDimension = 0


class Drawn:
    """A file put together tensor by tensor; constants are drawn at random."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self, name: str, dtype: str, shape: tuple[int, ...], scale: float, zero: int = 0
    ) -> int:
        """An activation."""
        made = schema.TensorT()
        made.name, made.shape = name, list(shape)
        made.type = {
            "int8": schema.TensorType.INT8,
            "int16": schema.TensorType.INT16,
            "int32": schema.TensorType.INT32,
        }[dtype]
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(
        self, name: str, dtype: str, shape: tuple[int, ...], scale: float, most: int
    ) -> int:
        """Integers from -most to most."""
        number = self.tensor(name, dtype, shape, scale)
        values = self.random.integers(-most, most, shape, dtype=dtype, endpoint=True)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.graph.tensors[number].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        return number

    def svdf(
        self, name: str, source: int, sizes: tuple[int, int, int, int], zero: int, bias: bool
    ) -> int:
        """An SVDF operator of ``sizes`` inputs, units, rank and frames; returns its output."""
        inputs, units, rank, frames = sizes
        filters = units * rank
        state = self.tensor(f"{name}/state", "int16", (1, filters * frames), 2.0**-9)
        self.graph.tensors[state].isVariable = True
        operator = schema.OperatorT()
        operator.inputs = [
            source,
            self.constant(f"{name}/features", "int8", (filters, inputs), 0.011, 127),
            self.constant(f"{name}/time", "int16", (filters, frames), 2.0**-14, 9000),
            self.constant(f"{name}/bias", "int32", (units,), 2.0**-23, 100_000) if bias else -1,
            state,
        ]
        operator.outputs = [self.tensor(f"{name}/out", "int8", (1, units), 0.037, zero)]
        operator.builtinOptionsType = schema.BuiltinOptions.SVDFOptions
        operator.builtinOptions = schema.SVDFOptionsT()
        operator.builtinOptions.rank = rank
        operator.builtinOptions.fusedActivationFunction = 1
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = 27
        code.version = 3
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def content(self, source: int, output: int) -> bytes:
        """The file."""
        self.graph.inputs, self.graph.outputs = [source], [output]
        return packed(self.model)


def svdf_network() -> bytes:
    """Two SVDF layers one behind the other, of rank 2 with a bias and of rank 1 without."""
    drawn = Drawn()
    source = drawn.tensor("in", "int8", (1, 10), 0.05, -7)
    hidden = drawn.svdf("first", source, (10, 6, 2, 5), -128, bias=True)
    return drawn.content(source, drawn.svdf("second", hidden, (6, 4, 1, 3), 11, bias=False))
