"""Random networks for the passes, and a strategy that draws them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from mcu_export.graph import Graph
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    BatchNorm,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Pad,
    Padding,
    Reshape,
    elements,
)
from tests.helpers import GraphBuilder, statistics, weights

IMAGE_LAYERS = (
    "conv", "depthwise", "bn", "bn", "relu", "clip", "pad", "max", "average", "add", "reshape",
    "dense", "output",
)  # fmt: skip
FLAT_LAYERS = ("dense", "bn", "bn", "relu", "clip", "add", "reshape", "output")


def clamp(kind: str, r: np.random.Generator) -> Clamp:
    low, high = sorted(r.normal(0, 2, 2).tolist())
    return Clamp(Limits(low, high) if kind == "clip" else r.choice([RELU, RELU6]))


class RandomNetwork:
    """Adds layers of given kinds; sizes and constants come from a seed."""

    def __init__(self, seed: int) -> None:
        self.r = np.random.default_rng(seed)
        self.b = GraphBuilder("random")
        self.value = self.b.input("x", (6, 5, 3))
        self.outputs: list[str] = []

    def build(self, kinds: list[str]) -> Graph:
        for kind in kinds:
            shape = self.b.shapes[self.value]
            if kind in (IMAGE_LAYERS if len(shape) == 3 else FLAT_LAYERS):
                self.add(kind, shape)
        if not self.b.nodes:
            self.add("relu", self.b.shapes[self.value])
        return self.b.finish(list(dict.fromkeys([*self.outputs, self.value])), {})

    def add(self, kind: str, shape: tuple[int, ...]) -> None:
        r, b, x = self.r, self.b, self.value
        channels = shape[-1]
        pads = Padding(*r.integers(0, 2, 4).tolist())
        if kind == "output":
            self.outputs += [x] if b.nodes else []
        elif kind == "conv":
            out = int(r.integers(1, 5))
            made = weights(r, (out, 2, 3, channels), out)
            fits = Padding(1, 1, 1, 1)
            self.value = b.add("conv", Conv2D((int(r.integers(1, 3)), 1), fits), [x], made)
        elif kind == "depthwise":
            out = channels * int(r.integers(1, 3))
            made = weights(r, (1, 2, out), out)
            self.value = b.add("depthwise", DepthwiseConv2D(padding=Padding(0, 0, 1, 0)), [x], made)
        elif kind == "bn":
            op = BatchNorm(float(r.choice([1e-3, 0.1])), r.choice([Limits(), RELU]))
            self.value = b.add("bn", op, [x], statistics(r, channels))
        elif kind in ("relu", "clip"):
            self.value = b.add(kind, clamp(kind, r), [x])
        elif kind == "pad":
            self.value = b.add("pad", Pad(pads), [x])
        elif kind in ("max", "average"):
            op_type = MaxPool2D if kind == "max" else AveragePool2D
            self.value = b.add(kind, op_type((1, 2), (1, 1), Padding(0, 0, 1, 0)), [x])
        elif kind == "add":
            same = [name for name, known in b.shapes.items() if known == shape]
            self.value = b.add("add", Add(), [x, str(r.choice(same))])
        elif kind == "reshape":
            size = elements(shape)
            choices = [(size,), (1, size), (1, 1, size), shape, (1, *shape)][: 5 - (len(shape) > 2)]
            self.value = b.add("reshape", Reshape(choices[r.integers(len(choices))]), [x])
        else:
            out = int(r.integers(1, 5))
            self.value = b.add("dense", Dense(), [x], weights(r, (out, channels), out))


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Networks of up to 12 layers in which passes find something to do."""
    kinds = draw(st.lists(st.sampled_from(sorted(set(IMAGE_LAYERS))), min_size=1, max_size=12))
    return RandomNetwork(draw(st.integers(0, 2**20))).build(kinds)
