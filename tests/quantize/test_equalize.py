"""Cross-layer equalization keeps the float function and evens out the channels."""

from __future__ import annotations

import numpy as np
import pytest

from mcu_export.graph import Graph, run_float
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Padding,
    Reshape,
    Softmax,
)
from mcu_export.passes.equalize import equalize, groups
from tests.helpers import after_passes, draw, rng, toy, weights

BORDER = Padding(1, 1, 1, 1)


def network(limits: Limits = RELU) -> Graph:
    """Conv, depthwise with multiplier 2, a residual addition, pooling, flatten, dense."""
    r = rng(4)
    b = GraphBuilder("net")
    x = b.input("in", (6, 4, 3))
    first = weights(r, (4, 3, 3, 3), 4)
    uneven = np.array([0.05, 0.3, 1.0, 3.0])
    first = {"weights": first["weights"] * uneven.reshape(4, 1, 1, 1), "bias": np.zeros(4)}
    y = b.add("conv", Conv2D(padding=BORDER, limits=limits), [x], first)
    y = b.add("dw", DepthwiseConv2D(padding=BORDER, limits=limits), [y], weights(r, (3, 3, 8), 8))
    y = b.add("pw", Conv2D(limits=limits), [y], weights(r, (6, 1, 1, 8), 6))
    z = b.add("branch", Conv2D(padding=BORDER), [y], weights(r, (6, 3, 3, 6), 6))
    z = b.add("add", Add(limits), [y, z])
    z = b.add("max", MaxPool2D((2, 2), (2, 2)), [z])
    z = b.add("mean", AveragePool2D((1, 2), (1, 2)), [z])
    z = b.add("flat", Reshape((18,)), [z])
    z = b.add("fc", Dense(), [z], weights(r, (5, 18), 5))
    return b.finish([b.add("softmax", Softmax(), [z])], {})


def outputs(graph: Graph) -> np.ndarray:
    samples = {name: x.astype(np.float64) for name, x in draw(graph, 25, seed=8).items()}
    return run_float(graph, samples)["fc"]


def spread_of(graph: Graph, name: str) -> float:
    value = run_float(graph, draw(graph, 25))[name]
    largest = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
    return float(largest.max() / largest.min())


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_the_float_function_is_kept(strength: float) -> None:
    for graph in (network(), after_passes(toy())):
        equal = equalize(graph, draw(graph), strength)
        assert equal is not graph
        before, after = outputs(graph), outputs(equal)
        assert np.abs(before - after).max() < 2e-6 * np.abs(before).max()


def test_channels_become_more_equal() -> None:
    graph = network()
    equal = equalize(graph, draw(graph, 25), 1.0)
    assert 20 < spread_of(graph, "conv") < np.inf
    assert spread_of(equal, "conv") < 1.1


def test_groups_of_a_residual_network() -> None:
    found = {group.makers: (group.values, group.readers) for group in groups(network())}
    assert found[("conv",)] == (("conv",), ("dw",))
    assert found[("dw",)] == (("dw",), ("pw",))
    values, readers = found[("pw", "branch")]
    assert values == ("pw", "branch", "add", "max", "mean", "flat")
    assert readers == ("branch", "fc")
    assert len(found) == 3


def test_relu6_is_left_alone() -> None:
    graph = network(RELU6)
    assert list(groups(graph)) == []
    assert equalize(graph, draw(graph), 0.5) is graph


def test_no_strength_and_zero_samples_change_nothing() -> None:
    graph = network()
    assert equalize(graph, draw(graph), 0.0) is graph
    r = rng()
    b = GraphBuilder("zero")
    x = b.input("in", (3,))
    none = {"weights": np.zeros((4, 3)), "bias": np.zeros(4)}
    y = b.add("a", Dense(RELU), [x], none)
    zero = b.finish([b.add("b", Dense(), [y], weights(r, (2, 4), 2))], {})
    assert equalize(zero, draw(zero), 0.5) is zero
