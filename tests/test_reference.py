"""The vectorized reference equals slow loops over Python's integers, for every op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcu_export.errors import InternalError
from mcu_export.graph import Graph, make_node, run_float
from mcu_export.ops import (
    RELU,
    RELU6,
    UNLIMITED,
    Add,
    AveragePool2D,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    MaxPool2D,
    Op,
    Pad,
    Padding,
    Reshape,
    Softmax,
)
from mcu_export.quantgraph import QuantNode
from mcu_export.reference import (
    dequantize_inputs,
    quantize_inputs,
    run_batches,
    run_layer,
    run_reference,
)
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import MAKERS, Value, frac_bits_for
from mcu_export.verify import random_inputs
from tests import slow_integers as slow
from tests.helpers import GraphBuilder, after_passes, draw, quantized, toy

limits = st.sampled_from([UNLIMITED, RELU, RELU6, Limits(-0.7, 0.4)])
small = st.integers(0, 2)
paddings = st.builds(Padding, small, small, small, small)
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
dilations = st.tuples(st.integers(1, 2), st.integers(1, 2))


class Layer:
    """A quantized layer with drawn constants and integer inputs."""

    def __init__(
        self,
        d: st.DataObject,
        op: Op,
        shapes: list[tuple[int, ...]],
        params: Mapping[str, tuple[int, ...]],
    ) -> None:
        r = np.random.default_rng(d.draw(st.integers(0, 2**20)))
        bits = d.draw(st.sampled_from([8, 16]))
        scale = d.draw(st.sampled_from([0.01, 0.5, 30.0]))
        names = [f"x{i}" for i in range(len(shapes))]
        drawn = {key: r.uniform(-scale, scale, size) for key, size in params.items()}
        node = make_node("n", op, names, dict(zip(names, shapes, strict=True)), drawn)
        values = []
        for _ in shapes:
            fmt = PowerOfTwo(bits, d.draw(st.integers(-3, 18)))
            values.append(Value(fmt, fmt.lowest, fmt.highest))
        frac = frac_bits_for(scale, bits) + d.draw(st.integers(0, 2))
        formats = {key: PowerOfTwo(bits, frac) for key in params}
        wanted = PowerOfTwo(bits, d.draw(st.integers(-6, 20)))
        self.node: QuantNode = MAKERS[type(op)](node, values, wanted, formats)
        self.inputs = [self.integers(r, v, s) for v, s in zip(values, shapes, strict=True)]

    @staticmethod
    def integers(r: np.random.Generator, value: Value, shape: tuple[int, ...]) -> np.ndarray:
        """Two samples; the second one has only the extremes."""
        drawn = r.integers(value.low, value.high + 1, (2, *shape))
        drawn[1] = r.choice([value.low, value.high], shape)
        return drawn

    def got(self) -> list[Any]:
        return run_layer(self.node, self.inputs).tolist()

    def constants(self) -> dict[str, list]:
        return {key: array.tolist() for key, array in self.node.params.items()}


def fits(shape: tuple[int, ...], kernel: tuple[int, int], p: Padding, d: tuple[int, int]) -> bool:
    reach = [(k - 1) * step + 1 for k, step in zip(kernel, d, strict=True)]
    return shape[0] + p.top + p.bottom >= reach[0] and shape[1] + p.left + p.right >= reach[1]


shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60)
@given(st.data(), shapes, kernels, strides, paddings, dilations, limits, st.integers(1, 4))
def test_conv2d(
    d: st.DataObject,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    limit: Limits,
    out: int,
) -> None:
    if not fits(shape, kernel, padding, dilation):
        return
    op = Conv2D(stride, padding, dilation, limit)
    layer = Layer(d, op, [shape], {"weights": (out, *kernel, shape[2]), "bias": (out,)})
    a, c = layer.node.arithmetic, layer.constants()
    expected = [slow.conv2d(x, op, a, c["weights"], c["bias"]) for x in layer.inputs[0].tolist()]
    assert layer.got() == expected


@settings(max_examples=60)
@given(st.data(), shapes, kernels, strides, paddings, dilations, limits, st.integers(1, 3))
def test_depthwise(
    d: st.DataObject,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    limit: Limits,
    multiplier: int,
) -> None:
    if not fits(shape, kernel, padding, dilation):
        return
    out = shape[2] * multiplier
    op = DepthwiseConv2D(stride, padding, dilation, limit)
    layer = Layer(d, op, [shape], {"weights": (*kernel, out), "bias": (out,)})
    a, c = layer.node.arithmetic, layer.constants()
    expected = [slow.depthwise(x, op, a, c["weights"], c["bias"]) for x in layer.inputs[0].tolist()]
    assert layer.got() == expected


@given(st.data(), st.integers(1, 3), st.integers(1, 70), st.integers(1, 5), limits)
def test_dense(d: st.DataObject, rows: int, size: int, out: int, limit: Limits) -> None:
    layer = Layer(d, Dense(limit), [(rows, size)], {"weights": (out, size), "bias": (out,)})
    a, c = layer.node.arithmetic, layer.constants()
    expected = [
        [slow.dense(row, a, c["weights"], c["bias"]) for row in sample]
        for sample in layer.inputs[0].tolist()
    ]
    assert layer.got() == expected


@given(st.data(), st.integers(1, 30), limits)
def test_add(d: st.DataObject, size: int, limit: Limits) -> None:
    layer = Layer(d, Add(limit), [(size,), (size,)], {})
    first, second = (x.tolist() for x in layer.inputs)
    a = layer.node.arithmetic
    assert layer.got() == [slow.add(x, y, a) for x, y in zip(first, second, strict=True)]


def test_add_of_formats_far_apart() -> None:
    for bits in (8, 16):
        for difference in range(0, 100, 3):
            formats = [PowerOfTwo(bits, 2), PowerOfTwo(bits, 2 + difference)]
            values = [Value(f, f.lowest, f.highest) for f in formats]
            node = make_node("n", Add(), ["x", "y"], {"x": (3,), "y": (3,)})
            made = MAKERS[Add](node, values, PowerOfTwo(bits, 1), {})
            ends = [values[0].low, values[0].high, -1]
            got = run_layer(made, [np.array([ends]), np.array([ends[::-1]])]).tolist()
            assert got == [slow.add(ends, ends[::-1], made.arithmetic)]


@given(st.data(), shapes, kernels, strides, paddings, limits)
def test_pooling(
    d: st.DataObject,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    limit: Limits,
) -> None:
    p = padding
    if not fits(shape, kernel, padding, (1, 1)):
        return
    if max(p.top, p.bottom) >= kernel[0] or max(p.left, p.right) >= kernel[1]:
        return
    for op, oracle in (
        (AveragePool2D(kernel, stride, padding, limit), slow.average_pool),
        (MaxPool2D(kernel, stride, padding, limit), slow.max_pool),
    ):
        layer = Layer(d, op, [shape], {})
        expected = [oracle(x, op, layer.node.arithmetic) for x in layer.inputs[0].tolist()]
        assert layer.got() == expected


@given(st.data(), shapes, paddings)
def test_pad_clamp_reshape(d: st.DataObject, shape: tuple[int, ...], padding: Padding) -> None:
    padded = Layer(d, Pad(padding), [shape], {})
    assert padded.got() == [slow.pad(x, padded.node.node.op) for x in padded.inputs[0].tolist()]
    clamped = Layer(d, Clamp(RELU6), [shape], {})
    a = clamped.node.arithmetic
    flat = [slow.saturate(x, a.low, a.high) for x in clamped.inputs[0].ravel().tolist()]
    assert np.ravel(clamped.got()).tolist() == flat
    moved = Layer(d, Reshape((int(np.prod(shape)),)), [shape], {})
    assert np.ravel(moved.got()).tolist() == moved.inputs[0].ravel().tolist()


@given(st.data(), st.integers(1, 3), st.integers(1, 40))
def test_softmax(d: st.DataObject, rows: int, size: int) -> None:
    layer = Layer(d, Softmax(), [(rows, size)], {})
    a = layer.node.arithmetic
    expected = [[slow.softmax(row, a) for row in x] for x in layer.inputs[0].tolist()]
    assert layer.got() == expected


def test_sums_beyond_a_float32_are_exact() -> None:
    """16-bit products need 31 bits; float32 has 24."""
    fmt = PowerOfTwo(16, 15)
    r = np.random.default_rng(2)
    params = {"weights": r.uniform(-1, 1, (4, 300)), "bias": np.zeros(4)}
    node = make_node("n", Dense(), ["x"], {"x": (300,)}, params)
    formats = {key: PowerOfTwo(16, 12) for key in params}
    value = Value(fmt, fmt.lowest, fmt.highest)
    made = MAKERS[Dense](node, [value], PowerOfTwo(16, 30), formats)
    assert made.arithmetic.bound > 2**24
    x = r.integers(fmt.lowest, fmt.highest + 1, (5, 300))
    w, b = made.params["weights"].tolist(), made.params["bias"].tolist()
    expected = [slow.dense(row, made.arithmetic, w, b) for row in x.tolist()]
    assert run_layer(made, [x]).tolist() == expected


# -- networks ---------------------------------------------------------------------------------


def test_values_of_a_network_are_its_layers_one_by_one() -> None:
    quant = quantized(after_passes(toy()))
    inputs = random_inputs(quant, 5)
    values = run_reference(quant, inputs)
    for node in quant.nodes:
        alone = run_layer(node, [values[name] for name in node.node.inputs])
        np.testing.assert_array_equal(values[node.name], alone)
        assert values[node.name].dtype == np.int64


def test_batches_do_not_matter() -> None:
    quant = quantized(after_passes(toy()))
    inputs = random_inputs(quant, 150)
    whole = run_reference(quant, inputs)
    parts = list(run_batches(quant, inputs))
    assert len(parts) > 1
    for name in whole:
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(joined, whole[name])


def test_an_output_beyond_its_format_is_an_internal_error() -> None:
    fmt = PowerOfTwo(8, 3)
    value = Value(fmt, -128, 127)
    node = MAKERS[Clamp](make_node("c", Clamp(UNLIMITED), ["x"], {"x": (2,)}), [value], fmt, {})
    broken = QuantNode(
        node.node, PowerOfTwo(4, 3), node.arithmetic, node.params, node.param_formats
    )
    with pytest.raises(InternalError, match="left the output format"):
        run_layer(broken, [np.array([[5, 100]])])


def one_input(bits: str = "q7") -> Any:
    b = GraphBuilder("f")
    graph: Graph = b.finish([b.add("relu", Clamp(RELU), [b.input("x", (3,))])], {})
    return quantized(graph, bits, samples={"x": np.full((1, 3), 1.9, np.float32)})


def test_floats_are_quantized_and_integers_of_the_inputs_type_are_not() -> None:
    quant = one_input()
    fmt = quant.input_formats["x"]
    assert fmt == PowerOfTwo(8, 6)
    real = np.array([[0.5, -2.0, 1.0]], np.float32)
    assert quantize_inputs(quant, {"x": real})["x"].tolist() == [[32, -128, 64]]
    stored = np.array([[32, -128, 64]], np.int8)
    assert quantize_inputs(quant, {"x": stored})["x"].tolist() == [[32, -128, 64]]
    np.testing.assert_array_equal(dequantize_inputs(quant, {"x": stored})["x"], real)
    # Bytes of an image are real values: 1 is 1.0.
    image = np.array([[1, 0, 255]], np.uint8)
    assert quantize_inputs(quant, {"x": image})["x"].tolist() == [[64, 0, 127]]
    np.testing.assert_array_equal(dequantize_inputs(quant, {"x": image})["x"], [[1, 0, 255]])


def test_int8_samples_of_a_16_bit_input_are_real_values() -> None:
    quant = one_input("q15")
    stored = np.array([[1, -1, 2]], np.int8)
    expected = [[2**14, -(2**14), 2**15 - 1]]
    assert quantize_inputs(quant, {"x": stored})["x"].tolist() == expected


def test_the_integer_network_is_near_the_float_one() -> None:
    graph = after_passes(toy())
    samples = draw(graph, 40)
    quant = quantized(graph, "q15", samples=samples)
    values = run_reference(quant, quantize_inputs(quant, samples))
    expected = run_float(graph, samples)[graph.outputs[0]]
    got = quant.formats()[graph.outputs[0]].dequantize(values[graph.outputs[0]])
    assert np.abs(got - expected).max() < 2e-3
