"""Small networks, one per op and form of it, made without any model file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Clamp,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elu,
    Exponential,
    Gather,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Logistic,
    Maximum,
    MaxPool2D,
    Minimum,
    Mish,
    Multiply,
    Op,
    Pad,
    Padding,
    Plus,
    PRelu,
    Reshape,
    Shape,
    Softmax,
    Softplus,
    Softsign,
    Subtract,
    Swish,
    Tanh,
    Transpose,
    TransposeConv2D,
)

Params = dict[str, tuple[int, ...]]


def one_layer(op: Op, shape: Shape, params: Params | None = None, inputs: int = 1) -> Graph:
    """A network of one layer; ``params`` gives the shape of each constant."""
    generator = np.random.default_rng(len(op.text()) + sum(shape))
    builder = GraphBuilder("case")
    names = [builder.input(f"in{index}", shape) for index in range(inputs)]
    drawn = {key: generator.standard_normal(size) for key, size in (params or {}).items()}
    return builder.finish([builder.add("layer", op, names, drawn)], {})


def two_shapes(op: Op, first: Shape, second: Shape) -> Graph:
    """A network of one layer of two inputs that broadcast."""
    builder = GraphBuilder("case")
    names = [builder.input("in0", first), builder.input("in1", second)]
    return builder.finish([builder.add("layer", op, names)], {})


def conv(out: int, height: int, width: int, channels: int) -> Params:
    """Shapes of the constants of a convolution."""
    return {"weights": (out, height, width, channels), "bias": (out,)}


def depthwise(height: int, width: int, channels: int) -> Params:
    """Shapes of the constants of a depthwise convolution."""
    return {"weights": (height, width, channels), "bias": (channels,)}


SAME_2 = Padding(0, 1, 0, 1)  # 3x3 with stride 2 over an even size
ALL = Padding(1, 1, 1, 1)
FUNCTIONS: tuple[Op, ...] = (
    Logistic(),
    Tanh(),
    LeakyRelu(0.3),
    HardSwish(),
    Elu(),
    Elu(1.6732632, 1.0507009),
    Swish(),
    HardSigmoid(),
    Softplus(),
    Softsign(),
    Gelu(),
    Gelu(approximate=True),
    Exponential(),
    Mish(),
)

CASES: dict[str, Callable[[], Graph]] = {
    "conv_1x1": lambda: one_layer(Conv2D(limits=RELU), (5, 4, 8), conv(6, 1, 1, 8)),
    "conv_3x3": lambda: one_layer(Conv2D(padding=ALL), (7, 6, 4), conv(4, 3, 3, 4)),
    "conv_first_layer": lambda: one_layer(
        Conv2D(strides=(2, 2), padding=Padding(4, 5, 1, 1)), (25, 10, 1), conv(8, 10, 4, 1)
    ),
    "conv_rgb": lambda: one_layer(
        Conv2D(strides=(2, 2), padding=SAME_2, limits=RELU6), (8, 8, 3), conv(5, 3, 3, 3)
    ),
    "conv_odd": lambda: one_layer(
        Conv2D(strides=(1, 3), padding=Padding(0, 2, 1, 0)), (9, 11, 5), conv(3, 4, 2, 5)
    ),
    "conv_dilated": lambda: one_layer(Conv2D(dilation=(2, 3)), (9, 11, 2), conv(3, 3, 2, 2)),
    "depthwise_3x3": lambda: one_layer(
        DepthwiseConv2D(padding=ALL, limits=RELU), (6, 5, 8), depthwise(3, 3, 8)
    ),
    "depthwise_stride_2": lambda: one_layer(
        DepthwiseConv2D(strides=(2, 2), padding=SAME_2), (8, 6, 5), depthwise(3, 3, 5)
    ),
    "depthwise_multiplier": lambda: one_layer(
        DepthwiseConv2D(padding=Padding(1, 0, 0, 2)), (7, 5, 3), depthwise(2, 3, 6)
    ),
    "dense": lambda: one_layer(Dense(), (13,), {"weights": (7, 13), "bias": (7,)}),
    "dense_rows": lambda: one_layer(Dense(RELU), (3, 6), {"weights": (5, 6), "bias": (5,)}),
    "max_pool": lambda: one_layer(MaxPool2D((3, 2), (2, 2), Padding(0, 1, 0, 0)), (7, 6, 3)),
    "average_pool": lambda: one_layer(AveragePool2D((3, 3), (2, 2), ALL), (7, 6, 3)),
    "global_average": lambda: one_layer(AveragePool2D((7, 6), (1, 1)), (7, 6, 3)),
    "add": lambda: one_layer(Add(RELU), (5, 4, 3), inputs=2),
    "relu6": lambda: one_layer(Clamp(RELU6), (5, 7)),
    "pad": lambda: one_layer(Pad(Padding(1, 2, 0, 3)), (3, 4, 2)),
    "pad_value": lambda: one_layer(Pad(Padding(0, 1, 2, 0), -1.5), (3, 4, 2)),
    "softmax": lambda: one_layer(Softmax(), (2, 12)),
    "transpose_conv": lambda: one_layer(
        TransposeConv2D((9, 8), (2, 2), Padding(0, 0, 1, 0)), (4, 4, 3), conv(5, 3, 3, 3)
    ),
    "transpose_conv_stride_1": lambda: one_layer(
        TransposeConv2D((4, 5), (1, 1), ALL, RELU), (4, 5, 2), conv(3, 3, 3, 2)
    ),
    "plus_constant": lambda: one_layer(Plus(), (4, 3, 5), {"operand": (5,)}),
    "plus_number": lambda: one_layer(Plus(), (4, 3, 5), {"operand": (1,)}),
    "subtract": lambda: one_layer(Subtract(), (4, 3, 5), inputs=2),
    "subtract_from": lambda: one_layer(Subtract(swapped=True), (6,), {"operand": (1,)}),
    "multiply": lambda: one_layer(Multiply(RELU), (4, 3, 5), inputs=2),
    "multiply_channels": lambda: one_layer(Multiply(), (4, 3, 5), {"operand": (5,)}),
    "multiply_pixels": lambda: two_shapes(Multiply(), (4, 3, 5), (4, 3, 1)),
    "multiply_rows": lambda: one_layer(Multiply(), (4, 3, 5), {"operand": (4, 1, 5)}),
    "plus_outer": lambda: two_shapes(Plus(), (4, 1, 5), (1, 3, 1)),
    "subtract_columns": lambda: two_shapes(Subtract(), (3, 1), (4, 3, 5)),
    "maximum": lambda: one_layer(Maximum(), (4, 3, 5), inputs=2),
    "minimum": lambda: one_layer(Minimum(), (11,), inputs=2),
    "maximum_constant": lambda: one_layer(Maximum(), (4, 3, 5), {"operand": (5,)}),
    "minimum_pixels": lambda: two_shapes(Minimum(), (4, 3, 1), (4, 3, 5)),
    "prelu": lambda: one_layer(PRelu(), (4, 3, 5), {"alpha": (5,)}),
    "prelu_shared": lambda: one_layer(PRelu(), (6,), {"alpha": (1,)}),
    "concatenate": lambda: one_layer(Concatenate(2), (3, 4, 2), inputs=3),
    "concatenate_rows": lambda: one_layer(Concatenate(0), (3, 4), inputs=2),
    "slice": lambda: one_layer(Gather(((1, 3), (0, 1, 2), (1,))), (5, 3, 2)),
    "nearest": lambda: one_layer(Gather(((0, 0, 1, 1), (0, 0, 0, 1, 1, 1), (0, 1))), (2, 2, 2)),
    "shuffle": lambda: one_layer(Gather(((2, 0, 1), (0, 3, 1))), (3, 4)),
    "transpose": lambda: one_layer(Transpose((2, 0, 1)), (3, 4, 5)),
    "reshape": lambda: one_layer(Reshape((5, 6)), (3, 10)),
    **{
        f"{op.kind}_{index}": lambda op=op: one_layer(op, (7, 5))  # type: ignore[misc]
        for index, op in enumerate(FUNCTIONS)
    },
}
