"""The SVDF operator of an integer network: its memory becomes an input and an output."""

from __future__ import annotations

import numpy as np

from mcu_export.loaders.tflite.importer import Constants, Importer
from mcu_export.loaders.tflite.model import INT8, INT16, INT32, TfliteOperator
from mcu_export.ops import Array, Concatenate, Gather, Reshape, SvdfFeatures, SvdfTime
from mcu_export.schemes.formats import Affine, PerChannel

FEATURES, TIME, BIAS, MEMORY = 1, 2, 3, 4


def svdf(importer: Importer, op: TfliteOperator) -> None:
    """SVDF. The fused activation is not looked at, as in the integer kernels."""
    if not importer.quantized:
        raise importer.fail(op, "SVDF is not supported in float", "quantize it to int8")
    builder = importer.builder
    memory = importer.tensor(op, MEMORY)
    fmt, time = importer.format(memory), _weights(importer, op, TIME)
    filters, frames = time[0].shape
    if fmt.zero_point or memory.shape[-1] != filters * frames:
        raise importer.fail(op, f"its memory {memory.name!r} is {fmt.text()}, {memory.shape}")
    before = builder.input(memory.name or "memory", (filters, frames))
    importer.formats[before] = fmt
    after = _remember(importer, op, before, fmt, filters, frames)
    importer.memories.append((before, after))
    units = filters // op.integer(0, default=1) if op.integer(0, default=1) > 0 else 0
    bias, bias_format = _bias(importer, op, units, fmt.scale * time[1].scales[0])
    constants: Constants = {"weights": time, "bias": (bias, bias_format)}
    importer.add(op, SvdfTime(op.integer(0, default=1)), [after], constants)


def _remember(
    importer: Importer, op: TfliteOperator, before: str, fmt: Affine, filters: int, frames: int
) -> str:
    """The memory with the features of the newest frame at its end."""
    weights, weights_format = _weights(importer, op, FEATURES)
    name = importer.model.tensors[op.outputs[0]].name
    scales = (importer.formats[importer.value(op)].scale * weights_format.scales[0],)
    bias = np.zeros(filters, np.int64), PerChannel(32, scales, 0)
    constants: Constants = {"weights": (weights, weights_format), "bias": bias}
    source = importer.value(op)
    features = importer.between(f"{name}/features", SvdfFeatures(), [source], fmt, constants)
    newest = importer.between(f"{name}/newest", Reshape((filters, 1)), [features], fmt)
    if frames == 1:
        return newest
    last = tuple(range(filters)), tuple(range(1, frames))
    kept = importer.between(f"{name}/kept", Gather(last), [before], fmt)
    return importer.between(f"{name}/memory", Concatenate(1), [kept, newest], fmt)


def _weights(importer: Importer, op: TfliteOperator, position: int) -> tuple[Array, PerChannel]:
    tensor, data = importer.tensor(op, position), importer.constant(op, position)
    types = (INT8, INT16) if position == TIME else (INT8,)
    if tensor.type not in types or len(tensor.scales) != 1 or any(tensor.zero_points):
        raise importer.fail(
            op,
            f"the weights {tensor.name!r} are {tensor.type_name} with {len(tensor.scales)} "
            f"scales, zero points {tensor.zero_points}",
            "quantize with a current TensorFlow Lite converter",
        )
    return data.astype(np.int64), PerChannel(8 if tensor.type == INT8 else 16, tensor.scales, 0)


def _bias(
    importer: Importer, op: TfliteOperator, units: int, scale: float
) -> tuple[Array, PerChannel]:
    tensor, fmt = importer.optional(op, BIAS), PerChannel(32, (scale,), 0)
    if tensor is None:
        return np.zeros(units, np.int64), fmt
    if tensor.data is None or tensor.type != INT32 or tensor.data.size != units:
        raise importer.fail(op, f"the bias {tensor.name!r} is {tensor.type_name}, {tensor.shape}")
    return tensor.data.astype(np.int64).ravel(), fmt
