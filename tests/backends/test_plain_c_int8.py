"""int8 in plain-c over many shapes, formats and extremes, on each core: the reference's bits."""

from __future__ import annotations

from functools import cache
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest

from mcu_export.backends.plain_c.sums import scaled_result
from mcu_export.calibrate import calibrate
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import RELU, RELU6, Add, Subtract
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize_network
from mcu_export.schemes.affine_arithmetic import Scaled
from mcu_export.schemes.fixed_point import rescale
from mcu_export.verify import random_inputs, verify
from tests.backends.affine_layers import random_affine
from tests.backends.random_networks import random_layers
from tests.backends.test_plain_c import GRAPHS, TARGETS
from tests.cases.test_cases import write_c

NETWORKS = {
    "layers": lambda: random_affine(GRAPHS["layers"](), 1),
    "left shifts": lambda: random_affine(GRAPHS["layers"](), 3, left=True),
    "chain": lambda: random_affine(GRAPHS["chain"](), 4),
    "random layers": lambda: random_affine(random_layers(5, 24), 5),
}
LEFT_OUT = {"gcc fast", "M4 small"}


@cache
def _made(name: str) -> QuantGraph:
    return NETWORKS[name]()


def extreme_inputs(quant: QuantGraph) -> dict[str, np.ndarray]:
    """Random integers, then all the largest, then all the smallest."""
    inputs = random_inputs(quant, 4)
    for array in inputs.values():
        array[-2], array[-1] = 127, -128
    return inputs


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in LEFT_OUT])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_core_gives_the_bits_of_the_reference(name: str, target: str, tmp_path: Path) -> None:
    exported = write_c(_made(name), "plain-c", tmp_path)
    verdict = verify(exported, extreme_inputs(exported.quant), TARGETS[target])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


def _sums() -> QuantGraph:
    """Sums and differences of inputs whose scales differ by up to 16, whole vectors and not."""
    builder = GraphBuilder("sums")
    outputs, samples, generator = [], {}, np.random.default_rng(7)
    for index, (op, size) in enumerate(
        product((Add(), Add(RELU), Subtract(), Subtract(RELU6)), (8, 21))
    ):
        pair = [builder.input(f"in{index}{side}", (size,)) for side in "ab"]
        for name, largest in zip(pair, (1.0, 0.3 * 2.0 ** (index - 4)), strict=True):
            samples[name] = generator.uniform(-largest, largest, (16, size)).astype(np.float32)
        outputs.append(builder.add("sum", op, pair))
    graph = builder.finish(outputs, {})
    return quantize_network(graph, calibrate(graph, samples), "int8", "minmax")


@pytest.mark.parametrize("target", ["gcc", "M55"])
def test_sums_in_vectors(target: str, tmp_path: Path) -> None:
    exported = write_c(_sums(), "plain-c", tmp_path)
    assert (tmp_path / "net.c").read_text().count("vstrbq_p_s32(output + i") == 4
    inputs = random_inputs(exported.quant, 40)
    for sign, name in zip(cycle((1, 1, -1)), inputs, strict=False):
        inputs[name][-1], inputs[name][-2] = (127, -128)[::sign]
    verdict = verify(exported, inputs, TARGETS[target])
    assert (verdict.mismatches, verdict.first_difference) == (0, None)


MULTIPLIERS = (1 << 30, (1 << 30) + 1, 1_518_500_250, (1 << 31) - 1)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("offset", [-128, -1, 0, 127])
def test_one_multiplication_rounds_as_two(offset: int, relu: bool) -> None:
    """The sequence of `scale8` and `scale8_signed` at every tie, around zero and far out."""
    far = np.array([2**31 - 1, 2**30, 2**23, 2**22 + 1])
    near = np.arange(-70_000, 70_000)
    low = max(offset, -128) if relu else -128
    for right in (2, 3, 7, 8, 22):
        for multiplier in MULTIPLIERS:
            ties = np.arange(-300, 300) * (1 << right) + (1 << right - 1)
            about = ((ties << 31) // multiplier)[:, None] + np.arange(-2, 3)
            sums = np.concatenate([near, far, -far, about.ravel()])
            sums = sums[np.abs(sums) < 2**31]
            expected = rescale(sums, multiplier, -right, "double") + offset
            arithmetic = Scaled(
                0, (multiplier,), (-right,), "double", 32, offset, low, 127, 2**31 - 1
            )
            result, (shift,) = scaled_result(arithmetic, np.array([right]))
            high = (2 * offset + 1) * (1 << shift) + np.zeros_like(sums)
            lowest = np.full_like(sums, 1 << 30)
            if result.scale == "scale8_signed":
                high, lowest = high + (sums >> 31), lowest + (sums & 1 << 31)
            got = sums * multiplier + lowest >> 32  # fits 63 bits without the high part
            got = got + high >> shift >> 1
            np.testing.assert_array_equal(
                np.clip(got, low, 127), np.clip(expected, low, 127), err_msg=f"{right} {multiplier}"
            )
