"""Bias absorption and equalization keep the function of a network; TensorFlow is the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest

from mcu_export.graph import Graph, run_float
from mcu_export.loaders import load
from mcu_export.loaders.base import GraphBuilder
from mcu_export.ops import RELU, RELU6, Array, Conv2D, Dense, Padding
from mcu_export.passes import run_passes
from mcu_export.passes.absorb_bias import absorb_bias
from mcu_export.passes.equalize import equalize
from tests.helpers import draw, rng, weights

Change = Callable[[Graph, Mapping[str, Array]], Graph]
CHANGES: dict[str, Change] = {
    "absorb": absorb_bias,
    "equalize": lambda graph, samples: equalize(graph, samples, 0.5),
    "both": lambda graph, samples: absorb_bias(equalize(graph, samples, 1.0), samples),
}


def model() -> keras.Model:
    """A depthwise network whose first dense layer is linear, as in the CNN of ML-KWS."""
    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(8, 1),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, (2, 1)),
            layers.Flatten(),
            layers.Dense(7),
            layers.Dense(4),
        ]
    )
    r = rng(9)
    for weight in made.weights:
        low = 0.3 if "variance" in weight.path else -1.0
        weight.assign(r.uniform(low, 1.5, weight.shape))
    return made


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Graph]:
    made, path = model(), Path(tmp_path_factory.mktemp("keras")) / "net.keras"
    made.save(path)
    *_, (_, graph) = run_passes(load(path))
    return made, graph


@pytest.mark.parametrize("name", CHANGES)
def test_tensorflow_gives_the_same(name: str, oracle: tuple[keras.Model, Graph]) -> None:
    made, graph = oracle
    changed = CHANGES[name](graph, draw(graph, 20))
    assert changed is not graph
    (tensor,) = graph.inputs
    # Inputs far from those that the factors and constants come from.
    x = 5 * rng(1).standard_normal((30, *tensor.shape)).astype(np.float32) - 2
    wanted = made.predict(x, verbose=0)
    got = run_float(changed, {tensor.name: x})[changed.outputs[0]].reshape(wanted.shape)
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_values_of_linear_layers_become_smaller(oracle: tuple[keras.Model, Graph]) -> None:
    _, graph = oracle
    samples = draw(graph, 60)
    changed = absorb_bias(graph, samples)
    before, after = run_float(graph, samples), run_float(changed, samples)
    moved = [name for name in before if not np.allclose(before[name], after[name], atol=1e-3)]
    assert len(moved) >= 4
    assert all(np.abs(after[name]).max() < np.abs(before[name]).max() for name in moved)


def behind(limits: object, padding: Padding = Padding()) -> Graph:  # noqa: B008
    """A conv whose weights are all positive, behind an activation, and a reader that may pad."""
    r = rng(2)
    b = GraphBuilder("behind")
    y = b.add("a", Conv2D(limits=limits), [b.input("in", (4, 4, 2))], weights(r, (3, 1, 1, 2), 3))
    positive = {"weights": r.uniform(0.1, 1, (5, 1, 1, 3)), "bias": np.array([-1, 0, 2, 3, 4.0])}
    y = b.add("b", Conv2D(limits=RELU), [y], positive)
    kernel = (4, 2, 2, 5) if padding == Padding() else (4, 3, 3, 5)
    return b.finish([b.add("c", Conv2D(padding=padding), [y], weights(r, kernel, 4))], {})


def test_what_a_relu_never_lies_below_is_moved() -> None:
    graph = behind(RELU)
    changed = absorb_bias(graph, draw(graph))
    assert np.array_equal(changed.node("b").params["bias"], [-1, 0, 0, 0, 0])
    samples = {"in": 50 * draw(graph, 40, seed=3)["in"]}
    before, after = (run_float(g, samples)["c"] for g in (graph, changed))
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()


def test_nothing_is_moved_where_it_would_change_the_function() -> None:
    """Over a padding, behind a ReLU that may be reached, and into an output."""
    padded = behind(RELU, Padding(1, 1, 1, 1))
    assert absorb_bias(padded, draw(padded)) is padded
    r = rng(5)
    b = GraphBuilder("relu")
    first = {"weights": r.uniform(0.1, 1, (4, 3)), "bias": np.full(4, 9.0)}
    y = b.add("a", Dense(RELU), [b.input("in", (3,))], first)
    graph = b.finish([b.add("b", Dense(), [y], weights(r, (2, 4), 2))], {})
    assert absorb_bias(graph, draw(graph)) is graph


def test_upper_limits_prove_a_bound_for_negative_weights() -> None:
    r = rng(6)
    b = GraphBuilder("relu6")
    y = b.add("a", Dense(RELU6), [b.input("in", (3,))], weights(r, (2, 3), 2))
    params = {"weights": np.array([[-1.0, 0.5], [-2.0, 0.5]]), "bias": np.array([7.0, 7.0])}
    y = b.add("b", Dense(RELU), [y], params)
    graph = b.finish([b.add("c", Dense(), [y], weights(r, (2, 2), 2))], {})
    changed = absorb_bias(graph, draw(graph))
    assert np.array_equal(changed.node("b").params["bias"], [6, 7])
    samples = {"in": 50 * draw(graph, 40, seed=3)["in"]}
    before, after = (run_float(g, samples)["c"] for g in (graph, changed))
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()
