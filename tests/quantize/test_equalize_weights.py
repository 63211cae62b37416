"""Equalization by weights keeps the float function and makes weights use their format."""

from __future__ import annotations

import numpy as np
import pytest

from mcu_export.graph import Graph, run_float
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import RELU, RELU6, Dense
from mcu_export.passes.equalize_weights import equalize_weights
from mcu_export.quantize import mse_weights
from mcu_export.schemes.formats import PowerOfTwo
from tests.helpers import after_passes, rng, toy, weights
from tests.quantize.test_equalize import network, outputs


def relative_loss(graph: Graph, name: str) -> float:
    """Power of what rounding to 8 bits takes from the weights of a layer, relative to theirs."""
    (real,) = (np.asarray(n.params["weights"], np.float64) for n in graph.nodes if n.name == name)
    fmt = PowerOfTwo(8, mse_weights(real, 8))
    error = fmt.dequantize(fmt.quantize(real)) - real
    return float(np.square(error).sum() / np.square(real).sum())


def test_the_float_function_is_kept() -> None:
    for graph in (network(), after_passes(toy())):
        equal = equalize_weights(graph, 8, graph.shapes())
        assert equal is not graph
        before, after = outputs(graph), outputs(equal)
        assert np.abs(before - after).max() < 2e-6 * np.abs(before).max()


def test_channels_reach_alike_before_and_after() -> None:
    graph = network()
    equal = {node.name: node for node in equalize_weights(graph, 8, graph.shapes()).nodes}
    made = np.abs(equal["conv"].params["weights"]).max(axis=(1, 2, 3))
    # Depthwise outputs 2 c and 2 c + 1 read channel c.
    read = np.abs(equal["dw"].params["weights"]).max(axis=(0, 1)).reshape(-1, 2).max(axis=1)
    assert made.max() / made.min() == pytest.approx(read.max() / read.min(), rel=0.05)
    assert np.ptp(made / read) < 0.05 * np.mean(made / read)


@pytest.mark.parametrize("name", ["conv", "pw"])
def test_where_one_side_alone_counts_all_its_channels_reach_the_same(name: str) -> None:
    graph = network()
    alone = {node.name: node for node in equalize_weights(graph, 8, {name}).nodes}[name]
    weights_of = np.abs(alone.params["weights"])
    made, read = weights_of.max(axis=(1, 2, 3)), weights_of.max(axis=(0, 1, 2))
    assert made.max() / made.min() < (1.01 if name == "conv" else 1.2)
    assert name == "conv" or read.max() / read.min() < 1.2


def test_no_layers_change_nothing() -> None:
    graph = network()
    assert equalize_weights(graph, 8, ()) is graph


def test_weights_lose_less_to_rounding() -> None:
    graph = network()
    equal = equalize_weights(graph, 8, graph.shapes())
    lost = {name: relative_loss(graph, name) for name in ("conv", "dw", "pw", "branch", "fc")}
    now = {name: relative_loss(equal, name) for name in lost}
    assert now["conv"] < 0.5 * lost["conv"]
    assert np.prod(list(now.values())) < 0.5 * np.prod(list(lost.values()))


def test_a_gain_fills_a_format_that_is_half_empty() -> None:
    """Weights up to just above 1 need a format up to 2; two layers share what there is to gain."""
    b = GraphBuilder("net")
    x = b.input("in", (8,))
    even = rng(3).uniform(-1.05, 1.05, (8, 8))
    even[:, 0] = even[0] = 1.05
    y = b.add("a", Dense(RELU), [x], {"weights": even, "bias": np.zeros(8)})
    graph = b.finish([b.add("b", Dense(), [y], {"weights": even, "bias": np.zeros(8)})], {})
    equal = equalize_weights(graph, 8, graph.shapes())
    largest = float(np.abs(equal.nodes[0].params["weights"]).max())
    assert 0.9 < largest / 2.0 ** np.ceil(np.log2(largest)) <= 1
    assert relative_loss(equal, "a") < 0.5 * relative_loss(graph, "a")


def test_what_cannot_be_scaled_is_left_alone() -> None:
    limited = network(RELU6)
    assert equalize_weights(limited, 8, limited.shapes()) is limited


def test_weights_of_zero() -> None:
    b = GraphBuilder("zero")
    x = b.input("in", (3,))
    none = {"weights": np.zeros((4, 3)), "bias": np.zeros(4)}
    one_dead = weights(rng(), (4, 4), 4)
    one_dead["weights"][:, 2] = 0
    y = b.add("a", Dense(RELU), [x], none)
    z = b.add("b", Dense(RELU), [y], one_dead)
    graph = b.finish([b.add("c", Dense(), [z], weights(rng(1), (2, 4), 2))], {})
    equal = equalize_weights(graph, 8, graph.shapes())
    assert all(np.isfinite(node.params["weights"]).all() for node in equal.nodes)
    assert np.allclose(outputs_of(graph), outputs_of(equal), rtol=1e-5)


def outputs_of(graph: Graph) -> np.ndarray:
    return run_float(graph, {"in": np.ones((1, 3))})[graph.outputs[0]]
