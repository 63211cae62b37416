"""The float arithmetic of each op equals TensorFlow's, also where padding is asymmetric."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import make_node
from mcu_export.ops import (
    RELU,
    RELU6,
    UNLIMITED,
    Add,
    AveragePool2D,
    BatchNorm,
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
from mcu_export.ops.base import Shape
from mcu_export.ops.pool import window_counts
from mcu_export.ops.windows import same_padding, same_padding_2d
from tests.helpers import rng

SAMPLES = 3
# height, width, kernel, strides, dilation; SAME pads after more than before in most of them
WINDOWS = [
    (9, 7, (3, 3), (1, 1), (1, 1)),
    (8, 6, (3, 3), (2, 2), (1, 1)),
    (49, 10, (10, 4), (2, 2), (1, 1)),
    (49, 10, (10, 4), (2, 1), (1, 1)),
    (7, 11, (1, 1), (2, 3), (1, 1)),
    (5, 12, (2, 5), (3, 1), (1, 1)),
    (4, 4, (7, 6), (1, 1), (1, 1)),
    (1, 16, (1, 3), (1, 2), (1, 1)),
    (10, 9, (3, 2), (1, 1), (2, 3)),
]
LIMITS = [UNLIMITED, RELU, RELU6]


def close(got: np.ndarray, expected: object) -> None:
    np.testing.assert_allclose(got, np.asarray(expected), rtol=2e-5, atol=2e-5)


def explicit(padding: str, shape: tuple[int, ...], window: tuple) -> Padding | None:
    """The padding, or None where VALID does not fit the image."""
    height, width, kernel, strides, dilation = window
    if padding == "SAME":
        return same_padding_2d(shape, kernel, strides, dilation)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return Padding() if reach[0] <= height and reach[1] <= width else None


def limited(tf: ModuleType, y: object, limits: Limits) -> object:
    return {RELU: tf.nn.relu, RELU6: tf.nn.relu6, UNLIMITED: tf.identity}[limits](y)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("channels, filters", [(1, 4), (3, 5), (8, 1)])
def test_conv2d(tf: ModuleType, window: tuple, padding: str, channels: int, filters: int) -> None:
    height, width, kernel, strides, dilation = window
    pads = explicit(padding, (height, width, channels), window)
    if pads is None:
        op = Conv2D(strides, Padding(), dilation)
        params = {"weights": np.zeros((filters, *kernel, channels)), "bias": np.zeros(filters)}
        with pytest.raises(UnsupportedLayerError, match="does not fit into the image"):
            op.infer([(height, width, channels)], params)
        return
    r = rng(sum(kernel))
    x = r.standard_normal((SAMPLES, height, width, channels)).astype(np.float32)
    w = r.standard_normal((filters, *kernel, channels)).astype(np.float32)
    b = r.standard_normal(filters).astype(np.float32)
    for limits in LIMITS:
        op = Conv2D(strides, pads, dilation, limits)
        expected = tf.nn.conv2d(x, w.transpose(1, 2, 3, 0), strides, padding, dilations=dilation)
        node = make_node("n", op, ["x"], {"x": x.shape[1:]}, {"weights": w, "bias": b})
        got = op.compute([x], node.params)
        assert got.shape == (SAMPLES, *node.shape)
        close(got, limited(tf, expected + b, limits))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize(
    "height, width, kernel, stride",
    [(9, 7, (3, 3), 1), (8, 6, (3, 3), 2), (25, 5, (10, 4), 2), (7, 8, (2, 5), 3)],
)
def test_depthwise(
    tf: ModuleType,
    height: int,
    width: int,
    kernel: tuple[int, int],
    stride: int,
    multiplier: int,
    padding: str,
) -> None:
    channels = 4
    window = (height, width, kernel, (stride, stride), (1, 1))
    pads = explicit(padding, (height, width, channels), window)
    assert pads is not None
    r = rng(height)
    x = r.standard_normal((SAMPLES, height, width, channels)).astype(np.float32)
    w = r.standard_normal((*kernel, channels, multiplier)).astype(np.float32)
    b = r.standard_normal(channels * multiplier).astype(np.float32)
    op = DepthwiseConv2D((stride, stride), pads, limits=RELU6)
    params = {"weights": w.reshape(*kernel, -1), "bias": b}
    expected = tf.nn.depthwise_conv2d(x, w, (1, stride, stride, 1), padding) + b
    assert op.infer([x.shape[1:]], params) == tuple(expected.shape[1:])
    close(op.compute([x], params), tf.nn.relu6(expected))


def test_depthwise_dilated(tf: ModuleType) -> None:
    r = rng()
    x = r.standard_normal((SAMPLES, 9, 10, 3)).astype(np.float32)
    w = r.standard_normal((3, 2, 3, 1)).astype(np.float32)
    expected = tf.nn.depthwise_conv2d(x, w, (1, 1, 1, 1), "SAME", dilations=(2, 2))
    op = DepthwiseConv2D(
        padding=same_padding_2d((9, 10, 3), (3, 2), (1, 1), (2, 2)), dilation=(2, 2)
    )
    close(op.compute([x], {"weights": w[..., 0], "bias": np.zeros(3, np.float32)}), expected)


def test_no_samples_give_no_outputs() -> None:
    x, bias = np.zeros((0, 5, 5, 4), np.float32), np.zeros(4, np.float32)
    conv = {"weights": np.ones((4, 3, 3, 4), np.float32), "bias": bias}
    depthwise = {"weights": np.ones((3, 3, 4), np.float32), "bias": bias}
    assert Conv2D().compute([x], conv).shape == (0, 3, 3, 4)
    assert DepthwiseConv2D().compute([x], depthwise).shape == (0, 3, 3, 4)


@pytest.mark.parametrize("strides", [(2, 1), (1, 2)])
def test_depthwise_with_unequal_strides(strides: tuple[int, int]) -> None:
    """TensorFlow has none: those of stride 1, where they lie."""
    r = rng()
    x, b = r.standard_normal((SAMPLES, 9, 10, 3)).astype(np.float32), np.zeros(3, np.float32)
    params = {"weights": r.standard_normal((3, 2, 6)).astype(np.float32), "bias": b.repeat(2)}
    every = DepthwiseConv2D().compute([x], params)
    some = DepthwiseConv2D(strides).compute([x], params)
    close(some, every[:, :: strides[0], :: strides[1]])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(130, 6, 7, 16), (3, 40, 60, 40)], ids=str)
def test_depthwise_on_many_and_on_large_samples(tf: ModuleType, shape: Shape, stride: int) -> None:
    r, channels = rng(), shape[3]
    pads = same_padding_2d(shape[1:], (3, 5), (stride, stride), (1, 1))
    x = r.standard_normal(shape).astype(np.float32)
    w = r.standard_normal((3, 5, channels, 1)).astype(np.float32)
    b = r.standard_normal(channels).astype(np.float32)
    op = DepthwiseConv2D((stride, stride), pads)
    expected = tf.nn.depthwise_conv2d(x, w, (1, stride, stride, 1), "SAME") + b
    close(op.compute([x], {"weights": w[..., 0], "bias": b}), expected)


@pytest.mark.parametrize("kind", ["MAX", "AVG"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("window", WINDOWS[:-1], ids=str)
def test_pooling(tf: ModuleType, window: tuple, padding: str, kind: str) -> None:
    height, width, kernel, strides, _ = window
    pads = explicit(padding, (height, width, 3), window)
    op_type = {"MAX": MaxPool2D, "AVG": AveragePool2D}[kind]
    if pads is None:
        with pytest.raises(UnsupportedLayerError):
            op_type(kernel, strides, Padding()).infer([(height, width, 3)], {})
        return
    x = rng(width).standard_normal((SAMPLES, height, width, 3)).astype(np.float32)
    op = op_type(kernel, strides, pads)
    if strides[0] == strides[1]:
        expected = np.asarray(tf.nn.pool(x, kernel, kind, strides, padding))
    else:  # TensorFlow has no such pooling on a CPU
        expected = pooled_by_hand(x, kernel, strides, pads, {"MAX": np.max, "AVG": np.mean}[kind])
    assert op.infer([x.shape[1:]], {}) == expected.shape[1:]
    close(op.compute([x], {}), expected)


def pooled_by_hand(
    x: np.ndarray,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: Padding,
    reduce: Callable[..., np.ndarray],
) -> np.ndarray:
    """Window by window, cut to the image."""
    height, width = x.shape[1:3]
    tops = range(-pads.top, height + pads.bottom - kernel[0] + 1, strides[0])
    lefts = range(-pads.left, width + pads.right - kernel[1] + 1, strides[1])
    rows = [
        [
            reduce(
                x[:, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]], axis=(1, 2)
            )
            for left in lefts
        ]
        for top in tops
    ]
    return np.asarray(rows).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("op_type", [MaxPool2D, AveragePool2D])
@pytest.mark.parametrize("padding", [Padding(3, 0, 0, 0), Padding(0, 0, 0, 2), Padding(1, 4, 1, 1)])
def test_a_pooling_window_wholly_in_the_padding_is_refused(
    op_type: type[MaxPool2D], padding: Padding
) -> None:
    with pytest.raises(UnsupportedLayerError, match="padding"):
        op_type((3, 2), (1, 1), padding).infer([(5, 5, 2)], {})


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
def test_dense(tf: ModuleType, shape: tuple[int, ...]) -> None:
    r = rng()
    x = r.standard_normal((SAMPLES, *shape)).astype(np.float32)
    params = {
        "weights": r.standard_normal((5, 6)).astype(np.float32),
        "bias": r.standard_normal(5).astype(np.float32),
    }
    op = Dense(RELU)
    expected = tf.nn.relu(tf.matmul(x.reshape(-1, 6), params["weights"].T) + params["bias"])
    assert op.infer([shape], params) == (*shape[:-1], 5)
    close(op.compute([x], params), np.asarray(expected).reshape(SAMPLES, *shape[:-1], 5))
    assert op.macs([shape], (*shape[:-1], 5), params) == int(np.prod(shape[:-1])) * 30


@pytest.mark.parametrize("shape", [(7,), (4, 7), (5, 3, 7)])
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.5])
def test_batch_norm(tf: ModuleType, shape: tuple[int, ...], epsilon: float) -> None:
    r = rng()
    x = r.standard_normal((SAMPLES, *shape)).astype(np.float32)
    drawn = {k: r.uniform(0.1, 2, 7).astype(np.float32) for k in ("mean", "variance", "beta")}
    drawn["gamma"] = r.standard_normal(7).astype(np.float32)
    expected = tf.nn.batch_normalization(
        x, drawn["mean"], drawn["variance"], drawn["beta"], drawn["gamma"], epsilon
    )
    close(BatchNorm(epsilon).compute([x], drawn), expected)


@pytest.mark.parametrize("shape", [(10,), (3, 10), (2, 2, 5)])
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_softmax(tf: ModuleType, shape: tuple[int, ...], beta: float) -> None:
    x = rng().normal(0, 4, (SAMPLES, *shape)).astype(np.float32)
    close(Softmax(beta).compute([x], {}), tf.nn.softmax(x * beta))
    huge = np.full((1, 2), 1e30, np.float32)
    np.testing.assert_array_equal(Softmax().compute([huge], {}), [[0.5, 0.5]])


def test_activations_add_pad_reshape(tf: ModuleType) -> None:
    r = rng()
    x = r.normal(0, 5, (SAMPLES, 4, 3, 2)).astype(np.float32)
    y = r.normal(0, 5, (SAMPLES, 4, 3, 2)).astype(np.float32)
    np.testing.assert_array_equal(Clamp(RELU).compute([x], {}), tf.nn.relu(x))
    np.testing.assert_array_equal(Clamp(RELU6).compute([x], {}), tf.nn.relu6(x))
    np.testing.assert_array_equal(Clamp(Limits(-1, 2)).compute([x], {}), tf.clip_by_value(x, -1, 2))
    np.testing.assert_array_equal(Add(RELU).compute([x, y], {}), tf.nn.relu(x + y))
    np.testing.assert_array_equal(
        Pad(Padding(1, 2, 3, 0)).compute([x], {}), tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]])
    )
    np.testing.assert_array_equal(Reshape((6, 4)).compute([x], {}), tf.reshape(x, (SAMPLES, 6, 4)))


@pytest.mark.parametrize("size", range(1, 14))
def test_same_padding_gives_tensorflows_sizes(tf: ModuleType, size: int) -> None:
    # A convolution of ones counts the elements each window sees: that shows both ends.
    for kernel in (1, 2, 3, 5):
        for stride in (1, 2, 3):
            x = np.ones((1, size, 1), np.float32)
            ones = np.ones((kernel, 1, 1), np.float32)
            seen = np.asarray(tf.nn.conv1d(x, ones, stride, "SAME"))[0, :, 0]
            before, after = same_padding(size, kernel, stride)
            padded = np.pad(np.ones(size), (before, after))
            mine = [
                padded[i : i + kernel].sum() for i in range(0, len(padded) - kernel + 1, stride)
            ]
            np.testing.assert_array_equal(mine, seen)


def test_window_counts_are_what_average_pooling_divides_by() -> None:
    counts = window_counts((4, 5, 2), (3, 3), (2, 2), Padding(1, 1, 1, 1))
    np.testing.assert_array_equal(counts, [[4, 6, 4], [6, 9, 6]])


REFUSED: list[tuple[Op, list[tuple[int, ...]], dict[str, np.ndarray], str]] = [
    (Add(), [(3, 4), (4, 3)], {}, "must be equal"),
    (Reshape((5,)), [(2, 3)], {}, "cannot reshape"),
    (Pad(Padding(1)), [(2, 3)], {}, "image"),
    (MaxPool2D((2, 2), (1, 1)), [(2, 3)], {}, "image"),
    (MaxPool2D((2, 2), (0, 1)), [(4, 4, 1)], {}, "positive"),
    (Conv2D(), [(4, 4, 3)], {"weights": np.zeros((2, 1, 1, 4))}, "channels"),
    (DepthwiseConv2D(), [(4, 4, 3)], {"weights": np.zeros((1, 1, 4))}, "multiple"),
    (Dense(), [(3,)], {"weights": np.zeros((2, 4))}, "does not fit"),
]


@pytest.mark.parametrize("op, shapes, params, what", REFUSED, ids=lambda v: str(v)[:30])
def test_shapes_that_cannot_be_are_refused(
    op: Op, shapes: list[tuple[int, ...]], params: dict[str, np.ndarray], what: str
) -> None:
    with pytest.raises(UnsupportedLayerError, match=what):
        op.infer(shapes, params)
