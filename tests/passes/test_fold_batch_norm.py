"""Batch norms are folded where that is the same function, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from mcu_export.graph import Graph, run_float
from mcu_export.ops import (
    RELU,
    RELU6,
    UNLIMITED,
    BatchNorm,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Padding,
    Reshape,
)
from mcu_export.passes import batch_norm_to_depthwise, fold_batch_norm
from tests.helpers import GraphBuilder, Params, after_passes, draw, rng, statistics, weights

# The package re-exports the function under the name of its module.
module = sys.modules[fold_batch_norm.__module__]

Make = Callable[[GraphBuilder, str], str]


def conv(b: GraphBuilder, x: str) -> str:
    return b.add("conv", Conv2D(), [x], weights(rng(), (4, 2, 2, 3), 4))


def depthwise(b: GraphBuilder, x: str) -> str:
    return b.add("depthwise", DepthwiseConv2D(), [x], weights(rng(), (2, 2, 6), 6))


def dense(b: GraphBuilder, x: str) -> str:
    return b.add("dense", Dense(), [x], weights(rng(), (5, 3), 5))


def norm(b: GraphBuilder, x: str, name: str = "bn", seed: int = 7, **given: object) -> str:
    channels = b.shapes[x][-1]
    params = {**statistics(rng(seed), channels), **given}
    return b.add(name, BatchNorm(1e-3), [x], params)


def start() -> tuple[GraphBuilder, str]:
    b = GraphBuilder("f")
    return b, b.input("x", (5, 4, 3))


def folded_by_hand(params: dict, stats: dict, axis: int, epsilon: float) -> tuple:
    """The formula of Jacob et al., channel by channel."""
    w = np.asarray(params["weights"], np.float64)
    b = np.asarray(params["bias"], np.float64)
    w, b = np.moveaxis(w, axis, 0).copy(), b.copy()
    for c in range(len(b)):
        s = stats["gamma"][c] / np.sqrt(stats["variance"][c] + epsilon)
        w[c] *= s
        b[c] = (b[c] - stats["mean"][c]) * s + stats["beta"][c]
    return np.moveaxis(w, 0, axis), b


@pytest.mark.parametrize("make, axis", [(conv, 0), (depthwise, 2), (dense, 0)])
def test_the_formula(make: Make, axis: int) -> None:
    b, x = start()
    y = make(b, x)
    graph = b.finish([norm(b, y)], {})
    layer, bn = graph.nodes
    after = fold_batch_norm(graph)
    (folded,) = after.nodes
    expected = folded_by_hand(layer.params, bn.params, axis, 1e-3)
    np.testing.assert_allclose(folded.params["weights"], expected[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(folded.params["bias"], expected[1], rtol=1e-6, atol=1e-7)
    assert (folded.name, after.outputs) == (y, (y,))
    (fold,) = after.folds
    assert (fold.batch_norm, fold.into, fold.epsilon) == ("bn", y, 1e-3)
    assert 0 <= fold.difference < 1e-5


def test_a_wrong_fold_would_be_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded difference is measured: a fold that forgets the mean shows at once."""
    b, x = start()
    graph = b.finish([norm(b, conv(b, x), mean=np.full(4, 2.0))], {})
    right = module._folded_params

    def wrong(params: Params, op: BatchNorm, stats: Params, axis: int) -> Params:
        return right(params, op, {**stats, "mean": np.zeros(4)}, axis)

    monkeypatch.setattr(module, "_folded_params", wrong)
    assert fold_batch_norm(graph).folds[0].difference > 0.1


def test_two_batch_norms_in_a_row_are_both_folded() -> None:
    b, x = start()
    y = norm(b, norm(b, conv(b, x), "bn1", 1), "bn2", 2)
    graph = b.finish([y], {})
    after = fold_batch_norm(graph)
    assert [n.op.kind for n in after.nodes] == ["conv2d"]
    assert [f.batch_norm for f in after.folds] == ["bn1", "bn2"]
    assert_equal(graph, after)


def assert_equal(before: Graph, after: Graph) -> None:
    samples = {k: v.astype(np.float64) for k, v in draw(before).items()}
    expected = run_float(before, samples)[before.outputs[0]]
    got = run_float(after, samples)[after.outputs[0]]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * (1 + np.abs(expected).max()))


def test_a_layer_that_somebody_else_reads_is_not_folded() -> None:
    b, x = start()
    y = conv(b, x)
    bn = norm(b, y)
    other = b.add("other", MaxPool2D((2, 2), (1, 1)), [y])
    graph = b.finish([bn, other], {})
    assert fold_batch_norm(graph) is graph
    after = after_passes(graph)
    assert [n.op.kind for n in after.nodes] == ["conv2d", "depthwise_conv2d", "max_pool2d"]
    assert after.folds == ()


def test_a_layer_that_is_an_output_is_not_folded() -> None:
    b, x = start()
    y = conv(b, x)
    graph = b.finish([y, norm(b, y)], {})
    assert fold_batch_norm(graph) is graph


def test_a_batch_norm_after_an_activation_stays_a_layer() -> None:
    b, x = start()
    y = b.add("relu", Clamp(RELU), [conv(b, x)])
    graph = b.finish([norm(b, y)], {})
    assert fold_batch_norm(graph) is graph
    after = after_passes(graph)
    assert [n.op.kind for n in after.nodes] == ["conv2d", "depthwise_conv2d"]
    assert after.nodes[0].op.limits == RELU
    assert_equal(graph, after)


def test_a_batch_norm_after_a_fused_activation_is_not_folded() -> None:
    b, x = start()
    y = b.add("conv", Conv2D(limits=RELU6), [x], weights(rng(), (4, 2, 2, 3), 4))
    graph = b.finish([norm(b, y)], {})
    assert fold_batch_norm(graph) is graph
    assert_equal(graph, after_passes(graph))


def test_an_activation_after_the_batch_norm_is_fused_with_it() -> None:
    b, x = start()
    y = b.add("relu", Clamp(RELU), [norm(b, conv(b, x))])
    graph = b.finish([y], {})
    after = after_passes(graph)
    (only,) = after.nodes
    assert (only.op.kind, only.op.limits) == ("conv2d", RELU)
    assert_equal(graph, after)


@pytest.mark.parametrize("shape", [(5, 4, 3), (7, 3), (6,)])
def test_a_batch_norm_at_the_input_becomes_a_depthwise_layer(shape: tuple[int, ...]) -> None:
    b = GraphBuilder("f")
    graph = b.finish([norm(b, b.input("x", shape))], {})
    after = after_passes(graph)
    kinds = [n.op.kind for n in after.nodes]
    expected = ["depthwise_conv2d"]
    assert kinds == (expected if len(shape) == 3 else ["reshape", *expected, "reshape"])
    assert after.nodes[-1].shape == shape
    assert_equal(graph, after)


def test_a_batch_norm_at_the_input_goes_into_the_layer_after_it() -> None:
    b, x = start()
    y = conv(b, norm(b, x))
    graph = b.finish([y], {})
    after = after_passes(graph)
    assert [n.op.kind for n in after.nodes] == ["conv2d"]
    assert [(f.batch_norm, f.into) for f in after.folds] == [("bn", "conv")]
    assert_equal(graph, after)


def test_a_batch_norm_before_a_layer_that_pads_stays() -> None:
    """The padding's zeros come after the offset: in the folded layer they would not."""
    b, x = start()
    op = Conv2D(padding=Padding(1, 1, 1, 1))
    graph = b.finish([b.add("c", op, [norm(b, x)], weights(rng(), (4, 3, 3, 3), 4))], {})
    after = after_passes(graph)
    assert [n.op.kind for n in after.nodes] == ["depthwise_conv2d", "conv2d"]
    assert_equal(graph, after)


def test_variance_zero_negative_and_zero_gamma() -> None:
    b, x = start()
    extreme = {"variance": np.array([0, 0, 1.0, 2.0]), "gamma": np.array([-1, 0.5, 0.0, -2.0])}
    graph = b.finish([norm(b, conv(b, x), **extreme)], {})
    after = fold_batch_norm(graph)
    (folded,) = after.nodes
    assert np.isfinite(folded.params["weights"]).all()
    assert not folded.params["weights"][2].any()
    assert folded.params["bias"][2] == graph.nodes[1].params["beta"][2]
    assert_equal(graph, after)


def test_batch_norms_own_limits_go_with_it() -> None:
    b, x = start()
    y = conv(b, x)
    bn = b.add("bn", BatchNorm(1e-3, RELU6), [y], statistics(rng(), 4))
    graph = b.finish([bn], {})
    (folded,) = fold_batch_norm(graph).nodes
    assert folded.op.limits == RELU6
    kept = batch_norm_to_depthwise(graph)
    assert [n.op.limits for n in kept.nodes] == [UNLIMITED, RELU6]
    assert_equal(graph, kept)


def test_a_batch_norm_behind_a_reshape_of_a_sequence_is_folded() -> None:
    """Conv1D is loaded as reshape, conv2d, reshape."""
    b = GraphBuilder("f")
    x = b.input("x", (8, 3))
    y = b.add("image", Reshape((1, 8, 3)), [x])
    y = b.add("conv", Conv2D(), [y], weights(rng(), (4, 1, 3, 3), 4))
    y = b.add("sequence", Reshape((6, 4)), [y])
    y = b.add("relu", Clamp(RELU), [norm(b, y)])
    graph = b.finish([y], {})
    after = after_passes(graph)
    assert [n.op.kind for n in after.nodes] == ["reshape", "conv2d", "reshape"]
    assert after.nodes[1].op.limits == RELU
    assert len(after.folds) == 1
    assert_equal(graph, after)
