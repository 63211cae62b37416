"""The report on ranges of channels, where they are known."""

from __future__ import annotations

import numpy as np

from mcu_export.channel_ranges import ChannelRanges, channel_ranges
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import RELU, Conv2D, DepthwiseConv2D


def test_ranges_silent_channels_and_lost_bits() -> None:
    b = GraphBuilder("net")
    gains = np.array([4.0, 1.0, 0.5, -1.0])
    conv = {"weights": gains.reshape(4, 1, 1, 1), "bias": np.zeros(4)}
    y = b.add("conv", Conv2D(limits=RELU), [b.input("in", (2, 2, 1))], conv)
    depthwise = {"weights": np.array([8.0, 1, 1, 1]).reshape(1, 1, 4), "bias": np.zeros(4)}
    graph = b.finish([b.add("dw", DepthwiseConv2D(), [y], depthwise)], {})
    x = np.linspace(0, 2, 12, dtype=np.float32).reshape(3, 2, 2, 1)
    assert channel_ranges(graph, {"in": x}) == [
        ChannelRanges("in", 1, 0, 2, 2, 2, 0, None),
        ChannelRanges("conv", 4, 1, 1, 2, 8, 2, 2),
        ChannelRanges("dw", 4, 1, 1, 2, 64, 5, 3),
    ]
