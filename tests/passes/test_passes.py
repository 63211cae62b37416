"""Every pass: the float function stays, twice is once, nothing to do gives the same graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from mcu_export.graph import Graph, check, dump, run_float
from mcu_export.ops import RELU, Conv2D, Reshape, Softmax
from mcu_export.passes import PASSES, Pass, run_passes
from tests.helpers import GraphBuilder, after_passes, draw, rng, toy, weights
from tests.passes.networks import networks

ALL = list(dict.fromkeys(PASSES))


def outputs(graph: Graph, like: Graph) -> list[np.ndarray]:
    """In float64, so that differences are those of the function and not of rounding."""
    inputs = {name: x.astype(np.float64) for name, x in draw(like, 4).items()}
    values = run_float(graph, inputs)
    return [values[name] for name in graph.outputs]


def assert_same_function(before: Graph, after: Graph) -> None:
    for expected, got in zip(outputs(before, before), outputs(after, before), strict=True):
        scale = 1 + np.abs(expected).max()
        assert got.shape == expected.shape
        # Folded constants are stored as float32.
        assert np.abs(got - expected).max() <= 2e-5 * scale


@pytest.mark.parametrize("one", ALL, ids=lambda p: p.__name__)
@given(graph=networks())
def test_a_pass_keeps_the_function_and_is_idempotent(one: Pass, graph: Graph) -> None:
    after = check(one(graph), one.__name__)
    assert_same_function(graph, after)
    again = one(after)
    assert again is after
    if dump(after) == dump(graph):
        assert after is graph


@given(graph=networks())
def test_all_passes_in_a_row(graph: Graph) -> None:
    before = dump(graph)
    after = after_passes(graph)
    assert dump(graph) == before
    assert_same_function(graph, after)
    assert len(after.outputs) == len(graph.outputs)
    assert [t.name for t in after.inputs] == [t.name for t in graph.inputs]
    assert "batch_norm" not in {node.op.kind for node in after.nodes}
    assert dump(after_passes(after)) == dump(after)


@given(graph=networks())
def test_passes_are_deterministic(graph: Graph) -> None:
    assert dump(after_passes(graph)) == dump(after_passes(graph))


@pytest.mark.parametrize("one", ALL, ids=lambda p: p.__name__)
def test_nothing_to_do_gives_the_same_object(one: Pass) -> None:
    b = GraphBuilder("plain")
    x = b.input("x", (4, 4, 2))
    y = b.add("conv", Conv2D(limits=RELU), [x], weights(rng(), (3, 1, 1, 2), 3))
    y = b.add("flat", Reshape((48,)), [y])
    graph = b.finish([b.add("softmax", Softmax(), [y])], {"kept": "details"})
    assert one(graph) is graph


def test_details_survive() -> None:
    graph = toy()
    assert after_passes(graph).details is graph.details


def test_what_the_toy_becomes_is_pinned() -> None:
    names = [name for name, _ in run_passes(toy())]
    assert names == [one.__name__ for one in PASSES]
    assert dump(after_passes(toy())) == (
        "input  in [9,5,3]\n"
        "node   conv/1 = conv2d<strides=2x1 padding=1,1,1,1 limits=relu>(in) "
        "[5,5,8] bias[8] weights[8,3,3,3]\n"
        "node   dw = depthwise_conv2d<padding=1,1,1,1>(conv/1) [5,5,8] bias[8] weights[3,3,8]\n"
        "node   dw2 = depthwise_conv2d<padding=1,1,1,1>(dw) [5,5,16] bias[16] weights[3,3,16]\n"
        "node   pw = conv2d(dw2) [5,5,8] bias[8] weights[8,1,1,16]\n"
        "node   add = add<limits=relu>(conv/1, pw) [5,5,8]\n"
        "node   pool = max_pool2d<kernel=2x2 strides=2x2 padding=0,1,0,1>(add) [3,3,8]\n"
        "node   average = average_pool2d<kernel=3x3 strides=2x2 padding=1,1,1,1>(pool) [2,2,8]\n"
        "node   flat = reshape<shape=32>(average) [32]\n"
        "node   fc = dense(flat) [5] bias[5] weights[5,32]\n"
        "node   softmax = softmax(fc) [5]\n"
        "output softmax\n"
    )
