"""Activations and paddings go into their neighbors only where nobody sees the difference."""

from __future__ import annotations

import numpy as np
import pytest

from mcu_export.graph import dump, run_float
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    Limits,
    MaxPool2D,
    Op,
    Pad,
    Padding,
    Reshape,
    Softmax,
)
from mcu_export.passes import fuse_activation, fuse_pad, merge_reshapes, sink_reshapes
from tests.helpers import GraphBuilder, draw, rng, weights

W = weights(rng(), (2, 1, 1, 2), 2)


def start() -> tuple[GraphBuilder, str]:
    b = GraphBuilder("f")
    return b, b.input("x", (4, 4, 2))


@pytest.mark.parametrize(
    "op, inputs, params",
    [
        (Conv2D(), 1, W),
        (Add(), 2, {}),
        (MaxPool2D((2, 2), (1, 1)), 1, {}),
        (AveragePool2D((2, 2), (1, 1)), 1, {}),
        (Dense(), 1, weights(rng(), (3, 2), 3)),
    ],
    ids=lambda v: v.kind if isinstance(v, Op) else "",
)
def test_an_activation_goes_into_the_layer_before(op: Op, inputs: int, params: dict) -> None:
    b, x = start()
    y = b.add("layer", op, [x] * inputs, params)
    z = b.add("relu", Clamp(RELU), [y])
    graph = b.finish([z], {})
    after = fuse_activation(graph)
    assert dump(after) == dump(graph).replace("= " + op.text(), "= " + limited(op)).replace(
        "node   relu = clamp<limits=relu>(layer) "
        + dump(graph).split("clamp<limits=relu>(layer) ")[1].split("\n")[0]
        + "\n",
        "",
    ).replace("output relu", "output layer")


def limited(op: Op) -> str:
    return type(op)(**{**vars(op), "limits": RELU}).text()


def test_two_activations_become_both_limits() -> None:
    b, x = start()
    y = b.add("conv", Conv2D(), [x], W)
    y = b.add("clip", Clamp(Limits(-2, 3)), [y])
    graph = b.finish([b.add("relu", Clamp(RELU), [y])], {})
    (only,) = fuse_activation(graph).nodes
    assert only.op.limits == Limits(0, 3)


@pytest.mark.parametrize(
    "first, second, both",
    [
        (RELU6, RELU, RELU6),
        (Limits(-1, 2), Limits(3, 4), Limits(3, 3)),
        (Limits(5, 7), Limits(3, 4), Limits(4, 4)),
        (RELU, Limits(-5, -1), Limits(-1, -1)),
        (Limits(), RELU6, RELU6),
    ],
)
def test_limits_one_after_the_other(first: Limits, second: Limits, both: Limits) -> None:
    assert second.within(first) == both
    x = np.linspace(-9, 9, 181)
    np.testing.assert_array_equal(second.apply(first.apply(x)), both.apply(x))


def test_an_activation_of_a_shared_value_stays() -> None:
    b, x = start()
    y = b.add("conv", Conv2D(), [x], W)
    z = b.add("relu", Clamp(RELU), [y])
    graph = b.finish([b.add("add", Add(), [y, z])], {})
    assert fuse_activation(graph) is graph


def test_an_activation_of_an_output_stays() -> None:
    b, x = start()
    y = b.add("conv", Conv2D(), [x], W)
    graph = b.finish([y, b.add("relu", Clamp(RELU), [y])], {})
    assert fuse_activation(graph) is graph


@pytest.mark.parametrize("op", [Softmax(), Reshape((32,)), Pad(Padding(1))])
def test_an_activation_after_a_layer_without_limits_stays(op: Op) -> None:
    b, x = start()
    graph = b.finish([b.add("relu", Clamp(RELU), [b.add("layer", op, [x])])], {})
    assert fuse_activation(graph) is graph


def test_padding_goes_into_the_convolution() -> None:
    b, x = start()
    y = b.add("pad", Pad(Padding(1, 2, 3, 0)), [x])
    op = Conv2D((2, 1), Padding(0, 1, 1, 1))
    graph = b.finish([b.add("conv", op, [y], weights(rng(), (2, 3, 3, 2), 2))], {})
    after = fuse_pad(graph)
    (only,) = after.nodes
    assert only.op == Conv2D((2, 1), Padding(1, 3, 4, 1))
    samples = draw(graph)
    np.testing.assert_array_equal(
        run_float(after, samples)["conv"], run_float(graph, samples)["conv"]
    )


def test_padding_that_two_layers_read_stays() -> None:
    b, x = start()
    y = b.add("pad", Pad(Padding(1, 1, 1, 1)), [x])
    outs = [b.add(name, Conv2D(), [y], W) for name in ("a", "b")]
    graph = b.finish(outs, {})
    assert fuse_pad(graph) is graph


def test_padding_of_a_pooling_stays() -> None:
    """Its zeros count there: a padded pooling ignores them."""
    b, x = start()
    y = b.add("pad", Pad(Padding(1, 1, 1, 1)), [x])
    graph = b.finish([b.add("max", MaxPool2D((2, 2), (1, 1)), [y])], {})
    assert fuse_pad(graph) is graph


def test_padding_that_is_an_output_stays() -> None:
    b, x = start()
    y = b.add("pad", Pad(Padding(1, 1, 1, 1)), [x])
    graph = b.finish([y, b.add("conv", Conv2D(), [y], W)], {})
    assert fuse_pad(graph) is graph


def test_reshapes_in_a_row_become_one_or_none() -> None:
    b, x = start()
    y = b.add("r1", Reshape((32,)), [x])
    y = b.add("r2", Reshape((2, 16)), [y])
    y = b.add("relu", Clamp(RELU), [y])
    y = b.add("r3", Reshape((16, 2)), [y])
    y = b.add("r4", Reshape((2, 16)), [y])
    y = b.add("softmax", Softmax(), [y])
    after = merge_reshapes(b.finish([y], {}))
    assert [(n.name, n.inputs) for n in after.nodes] == [
        ("r2", ("x",)),
        ("relu", ("r2",)),
        ("softmax", ("relu",)),
    ]


def test_a_reshape_that_is_an_output_stays() -> None:
    b, x = start()
    y = b.add("conv", Conv2D(), [x], W)
    graph = b.finish([b.add("same", Reshape((4, 4, 2)), [y])], {})
    assert merge_reshapes(graph) is graph


def test_a_reshape_sinks_below_an_activation_with_its_names() -> None:
    b, x = start()
    y = b.add("conv", Conv2D(), [x], W)
    y = b.add("flat", Reshape((32,)), [y])
    y = b.add("relu", Clamp(RELU), [y])
    y = b.add("fc", Dense(), [y], weights(rng(), (3, 32), 3))
    after = sink_reshapes(b.finish([y], {}))
    assert [(n.name, n.op.kind, n.inputs) for n in after.nodes] == [
        ("conv", "conv2d", ("x",)),
        ("relu", "clamp", ("conv",)),
        ("flat", "reshape", ("relu",)),
        ("fc", "dense", ("flat",)),
    ]
