"""Random layers and networks: geometries that nobody thought of."""

from __future__ import annotations

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import (
    RELU,
    RELU6,
    UNLIMITED,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Op,
    Padding,
    Reshape,
    Shape,
    Softmax,
    elements,
)
from mcu_export.ops.windows import same_padding_2d

CHANNELS = (1, 2, 3, 4, 4, 5, 8, 8, 12)
LIMITS = (UNLIMITED, RELU, RELU, RELU6)


class _Dice:
    """Draws sizes and constants."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def pick(self, *choices: int) -> int:
        return int(self.generator.choice(choices))

    def limits(self) -> object:
        return LIMITS[self.pick(*range(len(LIMITS)))]

    def window(self) -> tuple[int, int]:
        """Square more often than not."""
        height = self.pick(1, 2, 3, 3, 5)
        return height, self.pick(height, height, 1, 2, 3)

    def strides(self) -> tuple[int, int]:
        stride = self.pick(1, 1, 2)
        return stride, self.pick(stride, stride, stride, 1, 2)

    def padding(self, shape: Shape, window: tuple[int, int], strides: tuple[int, int]) -> Padding:
        """SAME, the same on all sides, none, or anything."""
        largest = min(window) - 1
        return (
            same_padding_2d(shape, window, strides, (1, 1)),
            Padding(largest // 2, largest // 2, largest // 2, largest // 2),
            Padding(),
            Padding(*(int(p) for p in self.generator.integers(0, largest + 1, 4))),
        )[self.pick(0, 0, 1, 1, 2, 3)]

    def params(self, *weights: int, out: int) -> dict[str, np.ndarray]:
        return {
            "weights": self.generator.standard_normal(weights) * 0.5,
            "bias": self.generator.standard_normal(out) * 0.3,
        }


def _window_layer(dice: _Dice, shape: Shape) -> tuple[Op, dict[str, np.ndarray]]:
    window, strides = dice.window(), dice.strides()
    padding, kind = dice.padding(shape, window, strides), dice.pick(0, 0, 0, 1, 1, 2, 3)
    if kind == 0:
        out = dice.pick(*CHANNELS)
        op = Conv2D(strides=strides, padding=padding, limits=dice.limits())  # type: ignore[arg-type]
        return op, dice.params(out, *window, shape[2], out=out)
    if kind == 1:
        out = shape[2] * dice.pick(1, 1, 1, 2)
        depthwise = DepthwiseConv2D(strides=strides, padding=padding, limits=dice.limits())  # type: ignore[arg-type]
        return depthwise, dice.params(*window, out, out=out)
    pool = MaxPool2D if kind == 2 else AveragePool2D
    return pool(window, strides, padding, dice.limits()), {}  # type: ignore[arg-type]


def _dense_layer(dice: _Dice, shape: Shape) -> tuple[Op, dict[str, np.ndarray]]:
    out = dice.pick(1, 3, 4, 6, 10, 13)
    return Dense(dice.limits()), dice.params(out, shape[-1], out=out)  # type: ignore[arg-type]


def random_layers(seed: int, count: int) -> Graph:
    """Layers side by side, each with an input and an output of its own."""
    dice, builder = _Dice(seed), GraphBuilder("layers")
    outputs: list[str] = []
    while len(outputs) < count:
        index = len(outputs)
        size = dice.pick(3, 4, 6, 7, 9)
        image = (size, dice.pick(size, size, 2, 5, 8), dice.pick(*CHANNELS))
        shape = image if dice.pick(0, 1, 1, 1) else image[dice.pick(1, 2) :]
        op, params = (_window_layer if len(shape) == 3 else _dense_layer)(dice, shape)
        name = builder.input(f"in{index}", shape)
        try:
            outputs.append(builder.add(f"layer{index}", op, [name], params))
        except UnsupportedLayerError:
            builder.inputs.pop()
            del builder.shapes[name]
    return builder.finish(outputs, {})


def random_network(seed: int, depth: int) -> Graph:
    """Layers one behind the other, some with a shortcut, then dense layers and a softmax."""
    dice, builder = _Dice(seed), GraphBuilder("network")
    value = builder.input("in", (20, 20, 3))
    for index in range(depth):
        shape = builder.shapes[value]
        if dice.pick(0, 0, 1):
            same = Conv2D(padding=Padding(1, 1, 1, 1))
            channels = shape[2]
            params = dice.params(channels, 3, 3, channels, out=channels)
            branch = builder.add(f"branch{index}", same, [value], params)
            value = builder.add(f"sum{index}", Add(RELU), [value, branch])
        op, params = _window_layer(dice, shape)
        try:
            value = builder.add(f"layer{index}", op, [value], params)
        except UnsupportedLayerError:
            continue  # the image has become too small for this window
    value = builder.add("flat", Reshape((elements(builder.shapes[value]),)), [value])
    for index in range(2):
        op, params = _dense_layer(dice, builder.shapes[value])
        value = builder.add(f"dense{index}", op, [value], params)
    return builder.finish([builder.add("softmax", Softmax(), [value])], {})
