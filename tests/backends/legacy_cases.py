"""Layers for cmsis-nn-legacy: every row of its table, and what lies just beyond its constraints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import (
    RELU,
    UNLIMITED,
    Add,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Op,
    Pad,
    Padding,
    Shape,
    Softmax,
)

Sizes = tuple[int, int]

CLIP = Limits(0.0, 0.7)
NONE = Padding()
ALL = Padding(1, 1, 1, 1)
TWO = Padding(2, 2, 2, 2)
AFTER = Padding(0, 1, 0, 1)  # TensorFlow's SAME for 3x3 with stride 2 over an even size


@dataclass(frozen=True)
class Case:
    """One layer and the kernel that it gets."""

    kernel: str
    op: Op
    shape: Shape
    weights: Shape = ()
    inputs: int = 1


def conv(
    kernel: str,
    shape: Shape,
    out: int,
    window: Sizes,
    padding: Padding = NONE,
    strides: Sizes = (1, 1),
    limits: Limits = UNLIMITED,
    dilation: Sizes = (1, 1),
) -> Case:
    """A convolution."""
    op = Conv2D(strides=strides, padding=padding, dilation=dilation, limits=limits)
    return Case(kernel, op, shape, (out, *window, shape[2]))


def depthwise(
    kernel: str,
    shape: Shape,
    window: Sizes,
    padding: Padding = NONE,
    strides: Sizes = (1, 1),
    limits: Limits = UNLIMITED,
    multiplier: int = 1,
    dilation: Sizes = (1, 1),
) -> Case:
    """A depthwise convolution."""
    op = DepthwiseConv2D(strides=strides, padding=padding, dilation=dilation, limits=limits)
    return Case(kernel, op, shape, (*window, shape[2] * multiplier))


def dense(kernel: str, shape: Shape, out: int, limits: Limits = UNLIMITED) -> Case:
    """A dense layer."""
    return Case(kernel, Dense(limits), shape, (out, shape[-1]))


def pool(
    kernel: str,
    shape: Shape,
    window: Sizes,
    strides: Sizes,
    padding: Padding = NONE,
    limits: Limits = UNLIMITED,
) -> Case:
    """A max pooling."""
    return Case(kernel, MaxPool2D(window, strides, padding, limits), shape)


POINTWISE = "arm_convolve_1x1_HWC_q7_fast_nonsquare"
FAST = "arm_convolve_HWC_q7_fast"
FAST_XY = "arm_convolve_HWC_q7_fast_nonsquare"
RGB = "arm_convolve_HWC_q7_RGB"
BASIC = "arm_convolve_HWC_q7_basic"
BASIC_XY = "arm_convolve_HWC_q7_basic_nonsquare"
DEPTHWISE = "arm_depthwise_separable_conv_HWC_q7"
DEPTHWISE_XY = "arm_depthwise_separable_conv_HWC_q7_nonsquare"
MAX_POOL = "arm_maxpool_q7_HWC"
FAST_15 = "arm_convolve_HWC_q15_fast"
FAST_XY_15 = "arm_convolve_HWC_q15_fast_nonsquare"
BASIC_15 = "arm_convolve_HWC_q15_basic"

Q7 = {
    "1x1": conv(POINTWISE, (4, 5, 4), 2, (1, 1)),
    "1x1 odd pixels": conv(POINTWISE, (3, 3, 8), 6, (1, 1), limits=RELU),
    "1x1 of 3 channels": conv(BASIC_XY, (4, 5, 3), 2, (1, 1)),
    "1x1 to 3 channels": conv(BASIC_XY, (4, 5, 4), 3, (1, 1)),
    "1x1 stride 2": conv(FAST_XY, (4, 5, 4), 2, (1, 1), strides=(2, 2)),
    "1x1 padded": conv(BASIC_XY, (4, 5, 4), 2, (1, 1), Padding(0, 0, 0, 1)),
    "fast": conv(FAST, (6, 6, 4), 2, (3, 3), ALL),
    "fast without padding": conv(FAST, (5, 5, 8), 4, (3, 3), limits=RELU),
    "fast stride 2": conv(FAST, (6, 6, 4), 4, (3, 3), ALL, (2, 2)),
    "fast all border": conv(FAST, (3, 3, 4), 2, (5, 5), TWO),
    "fast unused zeros": conv(FAST, (7, 7, 4), 2, (3, 3), Padding(1, 2, 1, 2), (2, 2)),
    "SAME stride 2": conv(BASIC, (6, 6, 4), 2, (3, 3), AFTER, (2, 2)),
    "fewer outputs than padding": conv(BASIC, (2, 2, 4), 2, (5, 5), TWO, (2, 2)),
    "fast odd input channels": conv(BASIC, (6, 6, 6), 2, (3, 3), ALL),
    "fast odd output channels": conv(BASIC, (6, 6, 4), 3, (3, 3), ALL),
    "fast x y": conv(FAST_XY, (7, 4, 4), 6, (3, 2), Padding(1, 1, 0, 0), (2, 1), CLIP),
    "fast x y padded": conv(FAST_XY, (5, 9, 8), 2, (3, 5), Padding(1, 1, 2, 2)),
    "SAME stride 2 x y": conv(BASIC_XY, (6, 5, 4), 2, (3, 3), Padding(0, 1, 1, 1), (2, 2)),
    "RGB": conv(RGB, (6, 6, 3), 5, (3, 3), ALL, limits=RELU),
    "RGB whole words": conv(RGB, (8, 8, 3), 4, (5, 5), TWO, (2, 2)),
    "RGB SAME stride 2": conv(RGB, (6, 6, 3), 4, (3, 3), AFTER, (2, 2)),
    "3 channels x y": conv(BASIC_XY, (6, 5, 3), 4, (3, 3), ALL),
    "basic": conv(BASIC, (7, 7, 1), 5, (4, 4), Padding(1, 2, 1, 2), (2, 2)),
    "basic x y": conv(BASIC_XY, (25, 10, 1), 7, (10, 4), Padding(4, 5, 1, 2), (2, 2), RELU),
    "basic uneven padding": conv(BASIC_XY, (5, 5, 2), 3, (3, 3), Padding(1, 1, 0, 2)),
    "dilated": conv("plain-c conv2d", (9, 9, 4), 2, (3, 3), dilation=(1, 2)),
    "depthwise": depthwise(DEPTHWISE, (5, 5, 6), (3, 3), ALL, limits=RELU),
    "depthwise SAME stride 2": depthwise(DEPTHWISE, (6, 6, 4), (3, 3), AFTER, (2, 2)),
    "depthwise 1x1": depthwise(DEPTHWISE, (4, 4, 10), (1, 1)),
    "depthwise x y": depthwise(DEPTHWISE_XY, (5, 7, 8), (3, 2), Padding(1, 1, 0, 1), (2, 1), CLIP),
    "depthwise odd": depthwise("plain-c depthwise_conv2d", (5, 5, 5), (3, 3), ALL),
    "depthwise multiplier": depthwise(
        "plain-c depthwise_conv2d", (5, 5, 2), (3, 3), ALL, multiplier=2
    ),
    "depthwise dilated": depthwise("plain-c depthwise_conv2d", (7, 7, 2), (3, 3), dilation=(2, 2)),
    "dense opt": dense("arm_fully_connected_q7_opt", (4,), 4),
    "dense opt left over": dense("arm_fully_connected_q7_opt", (11,), 7, RELU),
    "dense opt groups": dense("arm_fully_connected_q7_opt", (16,), 12, CLIP),
    "dense 3 outputs": dense("arm_fully_connected_q7", (9,), 3),
    "dense 3 inputs": dense("arm_fully_connected_q7", (3,), 8, RELU),
    "dense rows 1x1": dense(POINTWISE, (5, 8), 4, RELU),
    "dense rows": dense(BASIC_XY, (2, 3, 5), 3),
    "max pool": pool(MAX_POOL, (6, 6, 3), (2, 2), (2, 2)),
    "max pool SAME": pool(MAX_POOL, (6, 6, 4), (3, 3), (2, 2), AFTER, RELU),
    "max pool padded": pool(MAX_POOL, (7, 7, 5), (3, 3), (2, 2), ALL),
    "max pool one output": pool(MAX_POOL, (3, 3, 5), (5, 5), (1, 1), ALL),
    "max pool limited": pool(MAX_POOL, (4, 4, 2), (2, 2), (2, 2), limits=CLIP),
    "max pool stride 1": pool("plain-c max_pool2d", (5, 5, 3), (3, 3), (1, 1), ALL),
    "max pool x y": pool("plain-c max_pool2d", (6, 4, 3), (2, 2), (2, 2)),
    "average": Case("plain-c average_pool2d", AveragePool2D((2, 2), (2, 2)), (4, 4, 3)),
    "add": Case("plain-c add", Add(), (3, 3, 2), inputs=2),
    "clamp": Case("plain-c clamp", Clamp(CLIP), (9,)),
    "pad": Case("plain-c pad", Pad(ALL), (3, 3, 2)),
    "softmax": Case("plain-c softmax", Softmax(), (10,)),
}

Q15 = {
    "fast": conv(FAST_15, (6, 6, 2), 4, (3, 3), ALL, limits=RELU),
    "fast SAME stride 2": conv(FAST_15, (8, 8, 4), 2, (3, 3), AFTER, (2, 2)),
    "fast x y": conv(FAST_XY_15, (5, 6, 2), 4, (3, 2), Padding(1, 1, 1, 0), limits=CLIP),
    "basic": conv(BASIC_15, (6, 6, 3), 4, (3, 3), ALL, limits=CLIP),
    "odd output": conv(BASIC_15, (5, 5, 2), 4, (3, 3), ALL),
    "odd output channels": conv(BASIC_15, (6, 6, 2), 3, (3, 3), AFTER, (2, 2)),
    "odd width": conv("plain-c conv2d", (6, 5, 2), 4, (3, 3), ALL),
    "odd channels x y": conv("plain-c conv2d", (5, 6, 3), 4, (3, 3), ALL),
    "dilated": conv("plain-c conv2d", (8, 8, 2), 4, (3, 3), dilation=(2, 2)),
    "depthwise": depthwise("plain-c depthwise_conv2d", (5, 5, 4), (3, 3), ALL),
    "dense opt": dense("arm_fully_connected_q15_opt", (2,), 4),
    "dense opt left over": dense("arm_fully_connected_q15_opt", (11,), 7, RELU),
    "dense opt groups": dense("arm_fully_connected_q15_opt", (16,), 12, CLIP),
    "dense 3 outputs": dense("arm_fully_connected_q15", (9,), 3),
    "dense 1 input": dense("arm_fully_connected_q15", (1,), 8, RELU),
    "dense rows": dense(FAST_XY_15, (4, 6), 4, RELU),
    "dense odd rows": dense("plain-c dense", (3, 6), 4),
    "max pool": pool("plain-c max_pool2d", (6, 6, 3), (2, 2), (2, 2)),
    "average": Case("plain-c average_pool2d", AveragePool2D((2, 2), (2, 2)), (4, 4, 3)),
    "softmax": Case("plain-c softmax", Softmax(), (10,)),
}

VECTOR = "arm_fully_connected_mat_q7_vec_q15"
Q15X7 = {
    "dense opt": dense(f"{VECTOR}_opt", (2,), 4),
    "dense opt left over": dense(f"{VECTOR}_opt", (11,), 7, RELU),
    "dense opt groups": dense(f"{VECTOR}_opt", (16,), 12, CLIP),
    "dense opt many": dense(f"{VECTOR}_opt", (10,), 600),
    "dense 3 outputs": dense(VECTOR, (9,), 3),
    "dense 1 input": dense(VECTOR, (1,), 8, RELU),
    "dense rows": dense("plain-c dense", (4, 6), 4, RELU),
    "conv": conv("plain-c conv2d", (6, 6, 2), 4, (3, 3), ALL, limits=RELU),
    "depthwise": depthwise("plain-c depthwise_conv2d", (5, 5, 4), (3, 3), ALL),
    "max pool": pool("plain-c max_pool2d", (6, 6, 3), (2, 2), (2, 2)),
}

CASES = {"q7": Q7, "q15": Q15, "q15x7": Q15X7}

# Beyond the 16 bits of the kernels' counters; too large to be compiled again and again.
TOO_LARGE = {
    "q7 channels": ("q7", conv("plain-c conv2d", (1, 1, 32768), 2, (1, 1))),
    "q7 window": ("q7", conv("plain-c conv2d", (3, 3, 7284), 1, (3, 3))),
    "q7 height": ("q7", depthwise("plain-c depthwise_conv2d", (32768, 1, 2), (1, 1))),
    "q7 vector": ("q7", dense("plain-c dense", (65536,), 1)),
    "q7 largest vector": ("q7", dense("arm_fully_connected_q7", (65535,), 1)),
    "q7 rows": ("q7", dense("plain-c dense", (32768, 4), 2)),
    "q7 relu": ("q7", conv(f"{BASIC} + plain-c clamp", (257, 257, 1), 1, (1, 1), limits=RELU)),
    "q7 pooled row": ("q7", pool("plain-c max_pool2d", (4, 4, 32767), (2, 2), (1, 1))),
    "q15 vector": ("q15", dense("plain-c dense", (65536,), 1)),
    "q15 height": ("q15", conv("plain-c conv2d", (32768, 2, 2), 2, (1, 1))),
}


def expected(case: Case, scheme: str) -> str:
    """What the manifest must say: the kernel, and what does the activation if it does not."""
    limits = getattr(case.op, "limits", UNLIMITED)
    if case.kernel.startswith("plain-c") or " + " in case.kernel or limits == UNLIMITED:
        return case.kernel
    relu = "arm_relu_q7" if scheme == "q7" else "arm_relu_q15"
    return f"{case.kernel} + {relu if limits == RELU else 'plain-c clamp'}"


def network(cases: dict[str, Case], seed: int = 0) -> Graph:
    """All layers side by side, each with inputs and an output of its own."""
    generator = np.random.default_rng(seed)
    builder = GraphBuilder("cases")
    outputs = []
    for name, case in cases.items():
        inputs = [builder.input(f"{name} in{i}", case.shape) for i in range(case.inputs)]
        params = {}
        if case.weights:
            out = case.weights[-1] if isinstance(case.op, DepthwiseConv2D) else case.weights[0]
            params["weights"] = generator.standard_normal(case.weights)
            params["bias"] = generator.standard_normal(out)
        outputs.append(builder.add(name, case.op, inputs, params))
    return builder.finish(outputs, {})
