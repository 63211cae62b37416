"""What a layer is, on any target: attributes, shape inference, float arithmetic, MACs.

``OPS`` maps each kind to its class; a new layer type is one class here.
"""

from __future__ import annotations

from mcu_export.ops.arrange import Concatenate, Gather, Mean, Transpose
from mcu_export.ops.base import (
    NO_PADDING,
    RELU,
    RELU6,
    UNLIMITED,
    Array,
    Limits,
    Op,
    Padding,
    Params,
    Shape,
    elements,
)
from mcu_export.ops.binary import Maximum, Minimum, Multiply, Plus, Subtract
from mcu_export.ops.conv2d import Conv2D
from mcu_export.ops.curves import (
    Elu,
    Exponential,
    Gelu,
    HardSigmoid,
    Mish,
    Softplus,
    Softsign,
    Swish,
)
from mcu_export.ops.dense import Dense
from mcu_export.ops.depthwise_conv2d import DepthwiseConv2D
from mcu_export.ops.elementwise import Add, BatchNorm, Clamp, Softmax
from mcu_export.ops.functions import (
    Convert,
    ElementFunction,
    HardSwish,
    LeakyRelu,
    Logistic,
    Tanh,
)
from mcu_export.ops.layout import Pad, Reshape
from mcu_export.ops.pool import AveragePool2D, MaxPool2D
from mcu_export.ops.prelu import PRelu
from mcu_export.ops.svdf import SvdfFeatures, SvdfTime
from mcu_export.ops.transpose_conv2d import TransposeConv2D

OPS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        Conv2D,
        DepthwiseConv2D,
        Dense,
        MaxPool2D,
        AveragePool2D,
        Add,
        Clamp,
        BatchNorm,
        Softmax,
        Reshape,
        Pad,
        Plus,
        Subtract,
        Multiply,
        Maximum,
        Minimum,
        PRelu,
        Elu,
        Swish,
        HardSigmoid,
        Softplus,
        Softsign,
        Gelu,
        Exponential,
        Mish,
        Logistic,
        Tanh,
        LeakyRelu,
        HardSwish,
        Convert,
        Concatenate,
        Gather,
        Transpose,
        Mean,
        TransposeConv2D,
        SvdfFeatures,
        SvdfTime,
    )
}

__all__ = [
    "NO_PADDING",
    "OPS",
    "RELU",
    "RELU6",
    "UNLIMITED",
    "Add",
    "Array",
    "AveragePool2D",
    "BatchNorm",
    "Clamp",
    "Concatenate",
    "Conv2D",
    "Convert",
    "Dense",
    "DepthwiseConv2D",
    "ElementFunction",
    "Elu",
    "Exponential",
    "Gather",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Limits",
    "Logistic",
    "MaxPool2D",
    "Maximum",
    "Mean",
    "Minimum",
    "Mish",
    "Multiply",
    "Op",
    "PRelu",
    "Pad",
    "Padding",
    "Params",
    "Plus",
    "Reshape",
    "Shape",
    "Softmax",
    "Softplus",
    "Softsign",
    "Subtract",
    "SvdfFeatures",
    "SvdfTime",
    "Swish",
    "Tanh",
    "Transpose",
    "TransposeConv2D",
    "elements",
]
