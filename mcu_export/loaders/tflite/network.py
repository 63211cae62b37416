"""Loader of ``.tflite`` files: float networks, and int8, int4 and int16x8 ones as they are.

A quantized network keeps its own scales, zero points, weights and biases; nothing is calibrated
and nothing rounded again. What the integer kernels cannot do ends with an error: never is a layer
computed in float.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.loaders.tflite.importer import Importer
from mcu_export.loaders.tflite.model import (
    DTYPES,
    FLOAT32,
    INT4,
    TfliteOperator,
    read_tflite,
)
from mcu_export.loaders.tflite.ops import CONVERT, unsupported
from mcu_export.loaders.tflite.shapes import fold_shapes
from mcu_export.loaders.tflite.stored import with_real_weights
from mcu_export.quantgraph import QuantGraph
from mcu_export.schemes import widths
from mcu_export.schemes.affine import assemble
from mcu_export.schemes.affine_task import INTERPRETER, MICRO


def is_tflite(path: Path) -> bool:
    """Whether the file bears the identifier of TensorFlow Lite's FlatBuffers."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


def load_tflite(path: Path, *, bn_epsilon: float | None = None) -> Graph | QuantGraph:
    """The network of a ``.tflite`` file; a quantized one in its own integers.

    Args:
        path: the file.
        bn_epsilon: not used; the converter has folded batch normalization already.

    Raises:
        ModelFileError: the file is damaged.
        UnsupportedLayerError: an operator or a quantization that is not run.
    """
    model = read_tflite(path)
    quantized = any(t.data is None and t.affine() is not None for t in model.tensors)
    if not quantized:
        model = with_real_weights(model)
    importer = Importer(model, GraphBuilder(path.name), quantized)
    for operator in model.operators:
        _check_types(importer, operator)
    _add_inputs(importer)
    for operator in model.operators:
        convert = CONVERT.get(operator.name, unsupported)
        try:
            if not fold_shapes(importer, operator):
                convert(importer, operator)
        except UnsupportedLayerError as error:
            if error.where == model.source:
                error.where = importer.where(operator)
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise ModelFileError(
                f"the tensors do not fit the operator: {error}", where=importer.where(operator)
            ) from error
    return _finish(importer)


def _check_types(importer: Importer, operator: TfliteOperator) -> None:
    """Raise where an operator reads or writes a type that nothing here reads, such as uint8."""
    if operator.name not in CONVERT:
        return  # it is refused as such
    tensors = importer.model.tensors
    for number in (*operator.inputs, *operator.outputs):
        tensor = tensors[number]
        if number >= 0 and tensor.type not in (*DTYPES, INT4):
            raise importer.fail(
                operator,
                f"the tensor {tensor.name!r} is {tensor.type_name}",
                "convert to int8 with a current TensorFlow Lite converter, inputs and outputs too"
                " (uint8 networks of old converters are not run)",
            )


def _add_inputs(importer: Importer) -> None:
    """Inputs of the network; a float input that is quantized first is an integer input."""
    model = importer.model
    quantizes = {op.inputs[0]: op for op in model.operators if op.name == "QUANTIZE" and op.inputs}
    for number in model.inputs:
        tensor = model.tensors[number]
        if tensor.rows:
            raise importer.batch_error(tensor, model.source)
        shape = importer.shape(tensor)
        name = importer.builder.input(tensor.name or "input", shape)
        importer.values[number] = name
        if not importer.quantized:
            continue
        first = quantizes.get(number)
        if tensor.type == FLOAT32 and first is not None:
            tensor = model.tensors[first.outputs[0]]
        importer.formats[name] = importer.format(tensor)


def _finish(importer: Importer) -> Graph | QuantGraph:
    model, builder = importer.model, importer.builder
    missing = [model.tensors[n].name for n in model.outputs if n not in importer.values]
    if missing:
        raise ModelFileError(f"output {missing[0]!r} is not computed", where=model.source)
    details: dict[str, Any] = {"format": "TensorFlow Lite"}
    if importer.memories:
        details["memories"] = [{"input": x, "output": y} for x, y in importer.memories]
    outputs = [importer.values[n] for n in model.outputs]
    graph = builder.finish(outputs + [after for _, after in importer.memories], details)
    if not importer.quantized:
        return graph
    constants = importer.constants.values()
    four_bits = any(fmt.bits == 4 for known in constants for _, fmt in known.values())
    wide = any(importer.formats[importer.values[n]].bits == 16 for n in importer.values)
    scheme = widths.INT4 if four_bits else "int16x8" if wide else "int8"
    details["integers"] = "those of the file"
    details["same_bytes_as"] = MICRO
    return assemble(replace(graph, details=details), scheme, importer.formats, importer.constants)


def like_interpreter(quant: QuantGraph) -> QuantGraph:
    """The network with the kernels of TFLite's interpreter where they differ from TFLite Micro's.

    Tests compare with the interpreter; what is exported is the network as TFLite Micro runs it.
    """
    constants = {
        node.name: {role: (array, node.param_formats[role]) for role, array in node.params.items()}
        for node in quant.nodes
    }
    return assemble(quant.graph, quant.scheme, quant.formats(), constants, INTERPRETER)
