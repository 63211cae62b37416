"""Forms of each operator as TensorFlow's converter writes them: one small network each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tests.loaders.tflite_networks import weights

Shape = tuple[int, ...]
IMAGE = (6, 8, 4)


@dataclass(frozen=True)
class Variant:
    """A function of tensors with a batch of 1; shapes are without it.

    ``wide`` says whether the converter can quantize it with 16-bit activations, too.
    """

    function: Callable[..., object]
    shapes: tuple[Shape, ...] = (IMAGE,)
    wide: bool = True
    outputs: int = 1


def _conv(x: tf.Tensor, height: int, width: int, out: int, **settings: object) -> tf.Tensor:
    strides, padding = settings.pop("strides", 1), settings.pop("padding", "SAME")
    kernel = weights(height, width, x.shape[3], out)
    return tf.nn.conv2d(x, kernel, strides, padding, **settings) + weights(out)


def _depthwise(x: tf.Tensor, height: int, width: int, multiplier: int, stride: int = 1, **settings):
    kernel = weights(height, width, x.shape[3], multiplier)
    made = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME", **settings)
    return made + weights(x.shape[3] * multiplier)


def _limited(x: tf.Tensor) -> tf.Tensor:
    """RELU_N1_TO_1 behind a convolution."""
    return tf.minimum(tf.maximum(_conv(x, 1, 1, 5), -1.0), 1.0)


def _resize(corners: bool, half: bool, height: int, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
    def made(x: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.ResizeNearestNeighbor(
            images=x, size=[height, width], align_corners=corners, half_pixel_centers=half
        )

    return made


def _transposed(
    stride: int, padding: str, height: int, width: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    def made(x: tf.Tensor) -> tf.Tensor:
        kernel = weights(3, 2, 5, 4)
        return tf.nn.conv2d_transpose(x, kernel, (1, height, width, 5), stride, padding) + weights(
            5
        )

    return made


def _residual(x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.relu(_conv(x, 3, 3, 4))
    return tf.nn.relu(_conv(y, 3, 3, 4) + x)


def _both(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    y = tf.nn.relu(_conv(x, 3, 3, 4))
    return y, tf.reduce_mean(y, [1, 2])


VARIANTS: dict[str, Variant] = {
    "conv_relu6": Variant(lambda x: tf.nn.relu6(_conv(x, 3, 3, 5, strides=[1, 2, 2, 1]))),
    "conv_n1_to_1": Variant(_limited),
    "conv_dilated": Variant(lambda x: _conv(x, 3, 2, 5, dilations=[1, 2, 3, 1])),
    "conv_valid": Variant(lambda x: _conv(x, 2, 3, 5, padding="VALID", strides=[1, 1, 2, 1])),
    "conv_without_bias": Variant(lambda x: tf.nn.conv2d(x, weights(2, 2, 4, 3), 1, "SAME")),
    "conv_twice": Variant(_residual),
    "conv_1d": Variant(
        lambda x: tf.nn.conv1d(x, weights(3, 4, 6), 2, "SAME") + weights(6), ((9, 4),)
    ),
    "depthwise_multiplier": Variant(lambda x: _depthwise(x, 3, 3, 2, 2)),
    "depthwise_dilated": Variant(lambda x: _depthwise(x, 3, 2, 1, dilations=[2, 2])),
    "depthwise_relu": Variant(lambda x: tf.nn.relu(_depthwise(x, 5, 3, 1))),
    "dense_relu": Variant(lambda x: tf.nn.relu(tf.matmul(x, weights(9, 5)) + weights(5)), ((9,),)),
    "dense_rows": Variant(lambda x: tf.matmul(x, weights(4, 3)) + weights(3), ((5, 4),)),
    "dense_image": Variant(lambda x: tf.tensordot(x, weights(4, 3), 1) + weights(3)),
    "max_pool_same": Variant(lambda x: tf.nn.max_pool2d(x, (3, 2), (2, 1), "SAME")),
    "average_pool_same": Variant(lambda x: tf.nn.avg_pool2d(x, (3, 2), (2, 3), "SAME")),
    "add_channels": Variant(lambda x: x + weights(1, 1, 4)),
    "add_number": Variant(lambda x: x + 0.37),
    "add_vector": Variant(lambda x: tf.nn.relu(x + weights(1, 6)), ((6,),)),
    "add_pixels": Variant(lambda x, y: x + y, (IMAGE, (6, 8, 1))),
    "add_means": Variant(lambda x: x + tf.reduce_mean(x, [1, 2], keepdims=True)),
    "add_relu_n1_to_1": Variant(
        lambda x, y: tf.clip_by_value(x + y, -1.0, 1.0), (IMAGE, IMAGE), wide=False
    ),
    "sub_from": Variant(lambda x: 1.0 - x),
    "sub_two": Variant(lambda x, y: tf.nn.relu6(x - y), (IMAGE, IMAGE)),
    "mul_gate": Variant(lambda x, y: x * tf.sigmoid(y), (IMAGE, (1, 1, 4))),
    "mul_columns": Variant(lambda x: x * weights(1, 8, 1)),
    "mul_self": Variant(lambda x: x * x),
    "maximum": Variant(tf.maximum, (IMAGE, IMAGE)),
    "maximum_constant": Variant(lambda x: tf.maximum(_conv(x, 1, 1, 6), weights(1, 1, 6))),
    "minimum": Variant(lambda x, y: tf.minimum(_conv(x, 1, 1, 3), y), (IMAGE, (1, 1, 3))),
    "minimum_constant": Variant(lambda x: tf.minimum(weights(1, 1, 7), _conv(x, 1, 1, 7))),
    "concat_scales": Variant(
        lambda x, y: tf.concat([x, y * 3.0, tf.sigmoid(x)], 3), (IMAGE, IMAGE)
    ),
    "concat_rows": Variant(lambda x, y: tf.concat([x, y], 1), (IMAGE, (2, 8, 4))),
    "pad_value": Variant(lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], constant_values=0)),
    "pad_rows": Variant(lambda x: tf.pad(x, [[0, 0], [2, 1], [0, 0]]), ((5, 4),)),
    "pad_channels": Variant(lambda x: tf.pad(x, [[0, 0], [0, 0], [1, 0], [2, 3]])),
    "pad_one": Variant(
        lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]], constant_values=1.5), wide=False
    ),
    "reshape": Variant(lambda x: tf.reshape(x, (1, 12, 16))),
    "squeeze": Variant(lambda x: tf.squeeze(tf.reduce_mean(x, 1, keepdims=True), 1)),
    "softmax_rows": Variant(tf.nn.softmax),
    "relu": Variant(tf.nn.relu),
    "relu6": Variant(tf.nn.relu6),
    "relu_n1_to_1": Variant(lambda x: tf.clip_by_value(x, -1.0, 1.0), wide=False),
    "leaky_relu": Variant(lambda x: tf.nn.leaky_relu(x, 0.3)),
    "hard_swish": Variant(lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6), wide=False),
    "logistic": Variant(tf.sigmoid),
    "tanh": Variant(tf.tanh),
    "mean_rows": Variant(lambda x: tf.reduce_mean(x, 1)),
    "mean_columns": Variant(lambda x: tf.reduce_mean(x, 2, keepdims=True)),
    "mean_channels": Variant(lambda x: tf.reduce_mean(x, 3)),
    "mean_all": Variant(lambda x: tf.reduce_mean(x, [1, 2, 3], keepdims=True)),
    "mean_kept": Variant(lambda x: tf.reduce_mean(x, [1, 2], keepdims=True)),
    "mean_of_rows": Variant(lambda x: tf.reduce_mean(x, 1), ((7, 5),)),
    "mean_last": Variant(lambda x: tf.reduce_mean(x, -1), ((7, 5),)),
    "transpose_conv_same": Variant(_transposed(2, "SAME", 12, 16)),
    "transpose_conv_valid": Variant(_transposed(2, "VALID", 13, 16)),
    "transpose_conv_odd": Variant(_transposed(3, "SAME", 17, 22)),
    "nearest": Variant(_resize(False, False, 9, 20)),
    "nearest_half": Variant(_resize(False, True, 9, 20)),
    "nearest_corners": Variant(_resize(True, False, 11, 5)),
    "nearest_smaller": Variant(_resize(False, True, 4, 3)),
    "slice_strides": Variant(lambda x: x[:, 1:6:2, ::3, 1:]),
    "slice_backwards": Variant(lambda x: x[:, ::-1, 6:1:-2, :]),
    "slice_dropped": Variant(lambda x: x[:, 2, :, 1]),
    "slice_last": Variant(lambda x: x[..., -1]),
    "slice_new_axis": Variant(lambda x: x[:, :, tf.newaxis, 2, :]),
    "slice_begin_size": Variant(lambda x: tf.slice(x, (0, 1, 2, 0), (1, 4, -1, 3))),
    "split": Variant(lambda x: tf.split(x, 2, 2), outputs=2),
    "split_v": Variant(lambda x: tf.split(x, [1, 3, 2], 1), outputs=3),
    "unstack": Variant(lambda x: tf.unstack(x, axis=1), ((3, 5),), outputs=3),
    "stack": Variant(lambda x, y: tf.stack([x, y], 1), ((5,), (5,))),
    "gather": Variant(lambda x: tf.gather(x, [3, 0, 0], axis=3)),
    "max": Variant(lambda x: tf.reduce_max(x, [1, 2])),
    "max_of_rows": Variant(lambda x: tf.reduce_max(x, 1, keepdims=True), ((7, 5),)),
    "max_of_columns": Variant(lambda x: tf.reduce_max(x, [2, 3])),
    "transpose": Variant(lambda x: tf.transpose(_conv(x, 1, 1, 8), (0, 3, 1, 2))),
    "expand": Variant(lambda x: tf.expand_dims(x, 1), ((5, 4),)),
    "two_inputs": Variant(
        lambda x, y: tf.concat([tf.reduce_mean(_conv(x, 3, 3, 5), [1, 2]), y], 1), (IMAGE, (7,))
    ),
    "two_outputs": Variant(_both, outputs=2),
}


@dataclass(frozen=True)
class Together:
    """Several variants as one network, so that the converter runs once.

    ``inputs`` are the shapes; ``reads`` says for each variant which of them it reads.
    """

    names: tuple[str, ...]
    inputs: tuple[Shape, ...]
    reads: tuple[tuple[int, ...], ...]

    def owners(self) -> list[str]:
        """For each output of the network, in order, the variant it belongs to."""
        return [name for name in self.names for _ in range(VARIANTS[name].outputs)]

    def function(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        """The outputs of all variants, one after the other."""
        outputs: list[tf.Tensor] = []
        for name, reads in zip(self.names, self.reads, strict=True):
            made = VARIANTS[name].function(*(tensors[index] for index in reads))
            outputs += made if isinstance(made, list | tuple) else [made]
        return outputs


def together(wide: bool) -> Together:
    """All variants, those of one shape on the same inputs; ``wide``: those that go with 16 bits."""
    names = tuple(name for name, variant in VARIANTS.items() if variant.wide or not wide)
    inputs: list[tuple[int, Shape]] = []  # the how manieth input of its variant, and the shape
    reads = []
    for name in names:
        wanted = list(enumerate(VARIANTS[name].shapes))
        inputs += [each for each in wanted if each not in inputs]
        reads.append(tuple(inputs.index(each) for each in wanted))
    return Together(names, tuple(shape for _, shape in inputs), tuple(reads))


class Slopes(tf.Module):
    """PReLU behind a convolution: the converter knows it by the negation of a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = tf.Variable(tf.reshape(weights(4), (1, 1, 4)))

    def function(self, x: tf.Tensor) -> tf.Tensor:
        """One output."""
        y = _conv(x, 1, 1, 4)
        return tf.nn.relu(y) + -self.slopes * tf.nn.relu(-y)
