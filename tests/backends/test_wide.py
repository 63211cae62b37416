"""int16x8: the high word of one product is what TensorFlow Lite's 64 bits give; large sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcu_export.backends import BACKENDS
from mcu_export.backends.plain_c.wide import LEAST_RIGHT, MOST_RIGHT
from mcu_export.calibrate import calibrate
from mcu_export.loaders.base import GraphBuilder
from mcu_export.lower import lower
from mcu_export.ops import Conv2D, Dense, DepthwiseConv2D
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize_network
from mcu_export.reference import random_inputs
from mcu_export.schemes.fixed_point import narrow_multiplier, rescale
from mcu_export.verify import verify
from tests.backends.test_plain_c import TARGETS
from tests.cases.test_cases import write_c


@pytest.mark.parametrize("right", [LEAST_RIGHT, 17, 24, 31, MOST_RIGHT])
def test_the_high_word_rounds_as_the_reference(right: int) -> None:
    for multiplier in (1 << 30, (1 << 30) + (1 << 15), 1_518_500_250, (1 << 31) - 1):
        factor = int(narrow_multiplier(np.array(multiplier))) << (32 - right)
        assert 0 < factor < 2**31
        ties = (np.arange(-300, 300) * 2 + 1) * (1 << right - 1) // (factor >> (32 - right))
        far = np.array([-(2**31), 2**31 - 1, 2**30, -(2**23) - 1])
        sums = np.concatenate([np.arange(-70_000, 70_000), far, *(ties + i for i in range(-2, 3))])
        sums = sums[np.abs(sums) <= 2**31 - 1]
        got = sums * factor + (1 << 31) >> 32
        np.testing.assert_array_equal(got, rescale(sums, multiplier, 15 - right, "wide"))


def _large_sums(scheme: str) -> QuantGraph:
    """Layers whose sums reach more than 2^31: all weights are equal, all inputs may be."""
    builder = GraphBuilder("large")
    flat, image = builder.input("flat", (600,)), builder.input("image", (23, 24, 2))
    bias, generator = np.zeros(2), np.random.default_rng(2)
    layers = (
        ("dense", Dense(), flat, (2, 600)),
        ("conv", Conv2D(), image, (2, 23, 23, 2)),
        ("depthwise", DepthwiseConv2D(), image, (23, 23, 2)),
    )
    outputs = [
        builder.add(name, op, [read], {"weights": np.full(shape, 0.5), "bias": bias})
        for name, op, read, shape in layers
    ]
    graph = builder.finish(outputs, {})
    samples = {t.name: generator.uniform(-1, 1, (8, *t.shape)) for t in graph.inputs}
    return quantize_network(graph, calibrate(graph, samples), scheme, "minmax")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("int16x8", ["dense", "conv2d", "depthwise_conv2d"]),
        (
            "int4",
            [
                "dense, 4-bit weights",
                "conv2d, 4-bit weights",
                "depthwise_conv2d, by planes, 4-bit weights",
            ],
        ),
    ],
)
def test_sums_too_large_for_the_fast_kernels(
    scheme: str, expected: list[str], tmp_path: Path
) -> None:
    quant = _large_sums(scheme)
    kernels = [step.kernel for step in lower(quant, BACKENDS["plain-c"], "net").steps]
    assert kernels == [f"plain-c {kernel}" for kernel in expected]
    exported = write_c(quant, "plain-c", tmp_path)
    inputs = random_inputs(quant, 3)
    for array in inputs.values():
        limits = np.iinfo(np.int16 if scheme == "int16x8" else np.int8)
        array[-2], array[-1] = limits.max, limits.min
    verdict = verify(exported, inputs, TARGETS["gcc"])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
