"""Element functions, arithmetic of two tensors and moves in frozen graphs, against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from tf_oracle import assert_close, freeze, run, tf, tf1, weights

from mcu_export.errors import UnsupportedLayerError
from mcu_export.loaders.tf.graph import load_frozen_graph


def conv(x, channels=4):
    return tf.nn.conv2d(x, weights(3, 3, int(x.shape[-1]), channels), 1, "SAME")


def enlarged(x, size, strides, padding, kernel=3):
    w = weights(kernel, kernel, 5, int(x.shape[-1]))
    shape = tf.stack([tf.shape(x)[0], *size, 5])
    return tf.nn.conv2d_transpose(x, w, shape, strides, padding)


def resized(x, size, **options):
    return tf1.image.resize_nearest_neighbor(x, size, **options)


def keras_prelu(x):
    return tf.nn.relu(x) + -weights(3, scale=0.2) * tf.nn.relu(-x)


# name -> (network on (N, 9, 8, 3), the kinds of op that it becomes)
NETWORKS = {
    "sigmoid": (tf.nn.sigmoid, "logistic"),
    "tanh": (tf.nn.tanh, "tanh"),
    "elu": (tf.nn.elu, "elu"),
    "selu": (tf.nn.selu, "elu"),
    "softplus": (tf.nn.softplus, "softplus"),
    "softsign": (tf.nn.softsign, "softsign"),
    "exp": (tf.exp, "exponential"),
    "leaky relu": (lambda x: tf.nn.leaky_relu(x, 0.3), "leaky_relu"),
    "leaky relu, default": (lambda x: tf.nn.leaky_relu(x, 0.2), "leaky_relu"),
    "leaky relu by maximum": (lambda x: tf.maximum(x, 0.1 * x), "leaky_relu"),
    "maximum, slopes": (lambda x: tf.maximum(x, x * weights(3)), "batch_norm maximum"),
    "swish": (lambda x: x * tf.sigmoid(x), "swish"),
    "swish, gate first": (lambda x: tf.sigmoid(x) * x, "swish"),
    "swish after a layer": (lambda x: tf.nn.silu(conv(x)), "conv2d swish"),
    "gate of another": (lambda x: conv(x, 3) * tf.sigmoid(x), "conv2d logistic multiply"),
    "mish": (lambda x: x * tf.tanh(tf.math.softplus(x)), "mish"),
    "hard swish": (lambda x: x * (tf.nn.relu6(x + 3) / 6), "hard_swish"),
    "hard swish, keras": (lambda x: x * (tf.nn.relu6(x + 3) * (1 / 6)), "hard_swish"),
    "hard swish, divided last": (lambda x: x * tf.nn.relu6(x + 3) / 6, "hard_swish"),
    "no hard swish": (
        lambda x: x * (tf.nn.relu6(x + 2) / 6), "batch_norm clamp batch_norm multiply",
    ),
    "prelu": (keras_prelu, "prelu"),
    "relu of the negative": (lambda x: tf.nn.relu(-x), "batch_norm clamp"),
    "add": (lambda x: x + conv(x, 3), "conv2d add"),
    "add, broadcast": (lambda x: x + conv(x, 1), "conv2d plus"),
    "subtract": (lambda x: x - conv(x, 3), "conv2d subtract"),
    "multiply": (lambda x: conv(x, 3) * x, "conv2d multiply"),
    "multiply by channel": (
        lambda x: x * tf.reduce_mean(x, [1, 2], keepdims=True), "average_pool2d multiply",
    ),
    "maximum": (lambda x: tf.maximum(x, conv(x, 3)), "conv2d maximum"),
    "minimum": (lambda x: tf.minimum(x, conv(x, 1)), "conv2d minimum"),
    "constant image": (lambda x: x + weights(9, 8, 3), "plus"),
    "constant image, batched": (lambda x: weights(1, 9, 8, 1) + x, "plus"),
    "minus a constant row": (lambda x: x - weights(8, 1), "subtract"),
    "constant less the image": (lambda x: weights(9, 8, 3) - x, "subtract"),
    "times a constant image": (lambda x: x * weights(9, 8, 3), "multiply"),
    "maximum of a constant": (lambda x: tf.maximum(x, weights(3)), "maximum"),
    "minimum of a constant": (lambda x: tf.minimum(weights(9, 8, 3), x), "minimum"),
    "square": (lambda x: tf.square(conv(x, 2)), "conv2d multiply"),
    "dilated conv of a sequence": (
        lambda x: tf.nn.conv1d(x[:, 0], weights(3, 3, 4), 1, "SAME", dilations=3),
        "gather conv2d reshape",
    ),
    "tile": (lambda x: tf.tile(x, [1, 2, 1, 3]), "gather"),
    "repeat": (lambda x: tf.repeat(x, 3, axis=2), "gather reshape"),
    "concat channels": (lambda x: tf.concat([x, conv(x), x], -1), "conv2d concatenate"),
    "concat rows": (lambda x: tf.concat([x, conv(x, 3)], 1), "conv2d concatenate"),
    "split": (lambda x: tf.split(x, 2, 2)[1], "gather"),
    "split and concat": (lambda x: tf.concat(tf.split(x, 3, 3)[::-1], 3), "gather* concatenate"),
    "split by sizes": (lambda x: tf.add_n(tf.split(x, [4, 4], 2)), "gather gather add"),
    "split by sizes, rest": (lambda x: tf.split(x, [2, -1, 3], 1)[1], "gather"),
    "strided slice": (lambda x: x[:, 1:8:3, ::2], "gather"),
    "strided slice, reversed": (lambda x: x[:, ::-1, 5:1:-2, 1:], "gather"),
    "strided slice, one": (lambda x: x[:, 2], "gather reshape"),
    "strided slice, ellipsis": (lambda x: x[..., -1], "gather reshape"),
    "strided slice, new axis": (lambda x: x[:, :, None, 3:], "gather reshape"),
    "slice": (lambda x: tf.slice(x, [0, 1, 2, 0], [-1, 3, 4, -1]), "gather"),
    "gather": (lambda x: tf.gather(x, [2, 0, 0, 1], axis=3), "gather"),
    "gather one": (lambda x: tf.gather(x, 4, axis=1), "gather reshape"),
    "transpose": (lambda x: tf.transpose(x, [0, 2, 1, 3]), "transpose"),
    "transpose channels": (lambda x: tf.transpose(x, [0, 3, 1, 2]), "transpose"),
    "nearest": (lambda x: resized(x, [18, 16]), "gather"),
    "nearest, odd": (lambda x: resized(x, [13, 5]), "gather"),
    "nearest, half pixels": (lambda x: resized(x, [20, 11], half_pixel_centers=True), "gather"),
    "nearest, corners": (lambda x: resized(x, [21, 5], align_corners=True), "gather"),
    "transposed conv, same": (lambda x: enlarged(x, (18, 16), 2, "SAME"), "transpose_conv2d"),
    "transposed conv, odd": (lambda x: enlarged(x, (17, 15), 2, "SAME"), "transpose_conv2d"),
    "transposed conv, valid": (lambda x: enlarged(x, (19, 17), 2, "VALID"), "transpose_conv2d"),
    "transposed conv, even": (lambda x: enlarged(x, (25, 23), 3, "SAME", 4), "transpose_conv2d"),
    "transposed conv, bias": (
        lambda x: tf.nn.bias_add(enlarged(x, (18, 16), 2, "SAME"), weights(5)), "transpose_conv2d",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_tensorflow(name, tmp_path):
    build, kinds = NETWORKS[name]
    built = freeze(tmp_path, build)
    graph = load_frozen_graph(built.path)
    assert_close(run(graph, built.samples), built.outputs)
    made = " ".join(node.op.kind for node in graph.nodes)
    if "?" not in kinds and "*" not in kinds:
        assert made == kinds


def test_shapes_that_line_up_with_the_batch_are_refused(tmp_path):
    built = freeze(tmp_path, lambda x: x * tf.reduce_mean(x, [1, 2]), (None, 4, 4, 3))
    with pytest.raises(UnsupportedLayerError, match="combines the shapes"):
        load_frozen_graph(built.path)


def test_a_batch_norm_after_a_transposed_convolution_is_folded(tmp_path):
    from mcu_export.passes import run_passes  # noqa: PLC0415

    def build(x):
        mean, offset, scale = weights(5), weights(5, seed=1), weights(5, seed=2)
        y = enlarged(x, (18, 16), 2, "SAME")
        return tf.nn.batch_normalization(y, mean, np.abs(scale), offset, scale, 1e-3)

    built = freeze(tmp_path, build)
    *_, (_, graph) = run_passes(load_frozen_graph(built.path))
    assert [node.op.kind for node in graph.nodes] == ["transpose_conv2d"]
    assert_close(run(graph, built.samples), built.outputs)
