"""The float graph: construction, checks, dump, execution."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from mcu_export.errors import InternalError, ModelFileError, UnsupportedLayerError
from mcu_export.graph import Graph, Node, Tensor, check, dump, make_node, rebuild, run_float
from mcu_export.ops import RELU, RELU6, Add, BatchNorm, Clamp, Conv2D, Dense, Limits, Padding
from tests.helpers import GraphBuilder, draw, rng, toy, weights


def two_dense() -> Graph:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    y = b.add("first", Dense(RELU), [x], weights(rng(), (3, 4), 3))
    z = b.add("second", Dense(), [y], weights(rng(), (2, 3), 2))
    return b.finish([z], {"format": "test"})


def test_dump_is_pinned() -> None:
    assert dump(two_dense()) == (
        "input  x [4]\n"
        "node   first = dense<limits=relu>(x) [3] bias[3] weights[3,4]\n"
        "node   second = dense(first) [2] bias[2] weights[2,3]\n"
        "output second\n"
    )


def test_dump_shows_every_attribute_that_is_not_the_default() -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (9, 8, 2))
    op = Conv2D((2, 1), Padding(1, 0, 2, 3), (2, 1), Limits(-1.0, 2.5))
    y = b.add("c", op, [x], weights(rng(), (4, 3, 2, 2), 4))
    lines = dump(b.finish([y], {})).splitlines()
    assert lines[1] == (
        "node   c = conv2d<strides=2x1 padding=1,0,2,3 dilation=2x1 limits=clip(-1, 2.5)>(x) "
        "[3,12,4] bias[4] weights[4,3,2,2]"
    )


def test_dump_is_stable() -> None:
    assert dump(toy()) == dump(toy())


def test_a_graph_cannot_be_changed_in_place() -> None:
    graph = two_dense()
    with pytest.raises(FrozenInstanceError):
        graph.outputs = ()  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        graph.nodes[0].name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        graph.nodes[0].params["bias"] = np.zeros(3)  # type: ignore[index]


def test_names_are_made_unique() -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    assert b.add("a", Clamp(RELU), [x]) == "a"
    assert b.add("a", Clamp(RELU), [x]) == "a_2"
    assert b.add("x", Clamp(RELU), [x]) == "x_2"
    assert b.add("a", Clamp(RELU), [x]) == "a_3"


def test_layers_that_no_output_needs_are_left_out() -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    y = b.add("kept", Clamp(RELU), [x])
    b.add("unused", Clamp(RELU6), [y])
    assert [node.name for node in b.finish([y], {}).nodes] == ["kept"]


@pytest.mark.parametrize("shape", [(), (0,), (3, -1, 2)])
def test_an_input_without_a_fixed_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelFileError, match="must be known and positive"):
        GraphBuilder("file.x").input("x", shape)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_constants_that_are_not_finite_are_refused(bad: float) -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    params = weights(rng(), (3, 4), 3)
    params["weights"][1, 2] = bad
    with pytest.raises(ModelFileError, match="NaN or infinity") as caught:
        b.add("fc", Dense(), [x], params)
    assert "file.x" in caught.value.where
    assert "'fc'" in caught.value.where


def test_errors_of_an_op_name_file_and_layer() -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    with pytest.raises(UnsupportedLayerError, match="does not fit") as caught:
        b.add("fc", Dense(), [x], weights(rng(), (3, 5), 3))
    assert caught.value.where == "file.x: layer 'fc' (dense)"


def test_a_model_without_layers_is_refused() -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    with pytest.raises(ModelFileError, match="no layers"):
        b.finish([x], {})


@pytest.mark.parametrize("variance, epsilon", [(0.0, 0.0), (1.0, -2.0), (1.0, float("nan"))])
def test_a_batch_norm_without_a_root_is_refused(variance: float, epsilon: float) -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (2,))
    ones = np.ones(2)
    params = {"gamma": ones, "beta": ones, "mean": ones, "variance": np.array([1.0, variance])}
    with pytest.raises(UnsupportedLayerError, match="epsilon"):
        b.add("bn", BatchNorm(epsilon), [x], params)


def broken_graphs() -> dict[str, Graph]:
    graph = two_dense()
    first, second = graph.nodes
    infinite = {**first.params, "bias": np.array([0.0, np.inf, 0.0])}
    return {
        "same name": replace(graph, nodes=(first, replace(second, name="first"))),
        "before it is computed": replace(graph, nodes=(second, first)),
        "op infers": replace(graph, nodes=(replace(first, shape=(4,)), second)),
        "not finite": replace(graph, nodes=(replace(first, params=infinite), second)),
        "does not exist": replace(graph, outputs=("third",)),
    }


@pytest.mark.parametrize("what", broken_graphs())
def test_check_finds_each_broken_promise(what: str) -> None:
    with pytest.raises(InternalError, match=what) as caught:
        check(broken_graphs()[what], "pass some_pass")
    assert caught.value.where.startswith("pass some_pass")


def test_check_returns_the_graph() -> None:
    graph = toy()
    assert check(graph, "test") is graph


def test_consumers_list_a_node_once() -> None:
    b = GraphBuilder("file.x")
    x = b.input("x", (4,))
    y = b.add("twice", Add(), [x, x])
    z = b.add("other", Clamp(RELU), [x])
    graph = b.finish([y, z], {})
    assert [node.name for node in graph.consumers()["x"]] == ["twice", "other"]
    assert graph.consumers()["twice"] == []


def test_macs_and_parameters() -> None:
    graph = two_dense()
    assert graph.macs() == 4 * 3 + 3 * 2
    assert graph.parameters() == 4 * 3 + 3 + 3 * 2 + 2
    # conv 9x5x3 -> 5x5x8 by 3x3: every output sums over 27 products.
    assert (
        make_node(
            "c",
            Conv2D((2, 1), Padding(1, 1, 1, 1)),
            ["x"],
            {"x": (9, 5, 3)},
            {"weights": np.zeros((8, 3, 3, 3)), "bias": np.zeros(8)},
        ).op.macs([(9, 5, 3)], (5, 5, 8), {"weights": np.zeros((8, 3, 3, 3))})
        == 5 * 5 * 8 * 27
    )


def test_rebuild_follows_chains_of_renames() -> None:
    graph = two_dense()
    (_, second) = graph.nodes
    made = rebuild(graph, [second], {"first": "middle", "middle": "x"})
    assert made.nodes[0].inputs == ("x",)


def test_run_float_equals_numpy_by_hand() -> None:
    graph = two_dense()
    x = draw(graph)["x"]
    first, second = graph.nodes
    hidden = np.maximum(x @ first.params["weights"].T + first.params["bias"], 0)
    expected = hidden @ second.params["weights"].T + second.params["bias"]
    values = run_float(graph, {"x": x})
    assert values["second"].dtype == np.float32
    np.testing.assert_allclose(values["second"], expected, rtol=1e-6, atol=1e-6)


def test_unknown_node() -> None:
    graph = Graph((Tensor("x", (1,)),), (Node("a", Clamp(RELU), ("x",), (1,)),), ("a",))
    assert graph.node("a").name == "a"
    with pytest.raises(KeyError):
        graph.node("b")
