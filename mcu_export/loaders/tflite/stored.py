"""Float networks whose weights are stored in less: dynamic range int8 and int4, float16.

The activations of such a network are float; what is stored small stands for real values, and these
are what the network is trained to. They are restored here, before anything else is looked at.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcu_export.loaders.tflite.model import (
    FLOAT16,
    FLOAT32,
    INT4,
    INT8,
    TfliteModel,
    TfliteOperator,
    TfliteTensor,
)


def with_real_weights(model: TfliteModel) -> TfliteModel:
    """``model``, a float network, with all weights in float32 and no DEQUANTIZE of a constant."""
    tensors = [_real(tensor) for tensor in model.tensors]
    operators: list[TfliteOperator] = []
    for operator in model.operators:
        source = tensors[operator.inputs[0]] if operator.inputs else None
        if operator.name == "DEQUANTIZE" and source is not None and source.data is not None:
            made = operator.outputs[0]
            tensors[made] = replace(tensors[made], type=FLOAT32, data=source.data)
        else:
            operators.append(operator)
    return replace(model, tensors=tuple(tensors), operators=tuple(operators))


def _real(tensor: TfliteTensor) -> TfliteTensor:
    """The tensor with its real values, where it is a constant that stands for some."""
    if tensor.data is None or not (
        tensor.type == FLOAT16 or (tensor.type in (INT8, INT4) and tensor.scales)
    ):
        return tensor
    values = tensor.data.astype(np.float32)
    if tensor.scales:
        along = [1] * values.ndim
        if len(tensor.scales) > 1:
            along[tensor.axis] = -1
        scales = np.asarray(tensor.scales, np.float32).reshape(along)
        values = (values - np.asarray(tensor.zero_points, np.float32).reshape(along)) * scales
    return replace(tensor, type=FLOAT32, data=values, scales=(), zero_points=())
