"""TensorFlow Lite operators with weights, and what all operators share: activations, padding."""

from __future__ import annotations

import numpy as np

from mcu_export.errors import UnsupportedLayerError
from mcu_export.loaders.tflite.importer import Constants, Importer
from mcu_export.loaders.tflite.model import (
    FLOAT32,
    INT4,
    INT8,
    INT32,
    INT64,
    TfliteOperator,
    TfliteTensor,
)
from mcu_export.ops import (
    NO_PADDING,
    RELU,
    RELU6,
    UNLIMITED,
    Array,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Limits,
    Padding,
    Reshape,
    Shape,
    TransposeConv2D,
    elements,
)
from mcu_export.ops.windows import same_padding_2d
from mcu_export.schemes.formats import PerChannel

ACTIVATIONS = {0: UNLIMITED, 1: RELU, 2: Limits(-1.0, 1.0), 3: RELU6}


def activation(importer: Importer, operator: TfliteOperator, number: int) -> Limits:
    """The fused activation whose option has that number."""
    found = operator.integer(number, "b")
    if found not in ACTIVATIONS:
        raise importer.fail(
            operator, f"the fused activation {found} is not supported", "use relu or relu6"
        )
    return ACTIVATIONS[found]


def window_padding(
    operator: TfliteOperator,
    shape: Shape,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Padding:
    """Explicit padding; option 0 is 0 for SAME, 1 for VALID."""
    if operator.integer(0, "b") == 1 or min(*strides, *kernel) < 1:
        return NO_PADDING
    return same_padding_2d(shape, kernel, strides, dilation)


def weights_and_bias(
    importer: Importer,
    operator: TfliteOperator,
    weights: tuple[TfliteTensor, Array, int],
    bias: TfliteTensor | None,
    input_scale: tuple[float, int],
) -> tuple[Constants | None, dict[str, Array] | None]:
    """(integer constants, None) of a quantized layer, (None, floats) of a float one.

    Args:
        importer: the network.
        operator: the layer.
        weights: the tensor, its data in our order of axes, and our axis of output channels.
        bias: its tensor, or None.
        input_scale: scale and bits of the input.
    """
    tensor, data, axis = weights
    channels = data.shape[axis]
    wanted = _weight_types(importer, operator, input_scale[1])
    if tensor.type not in wanted:
        raise importer.fail(
            operator,
            f"the weights {tensor.name!r} are {tensor.type_name}, the activations are "
            f"{f'int{input_scale[1]}' if importer.quantized else 'float'}",
            "convert with full integer quantization",
        )
    bias_data = None if bias is None else bias.data
    if bias is not None and bias_data is None:
        raise importer.fail(operator, f"the bias {bias.name!r} is not a constant")
    if bias_data is not None and bias_data.size != channels:
        raise importer.fail(operator, f"the bias has {bias_data.size} elements for {channels}")
    if not importer.quantized:
        floats = np.zeros(channels, np.float32) if bias_data is None else bias_data.ravel()
        return None, {"weights": data, "bias": floats}
    weights_format = _weights_format(importer, operator, tensor, channels, axis)
    scale, bits = input_scale
    bias_bits = _bias_bits(importer, operator, bias, bits)
    integers = np.zeros(channels, np.int64) if bias_data is None else bias_data.astype(np.int64)
    bias_format = PerChannel(bias_bits, tuple(scale * s for s in weights_format.scales), 0)
    return {
        "weights": (data.astype(np.int64), weights_format),
        "bias": (integers.ravel(), bias_format),
    }, None


def _weight_types(importer: Importer, operator: TfliteOperator, bits: int) -> tuple[int, ...]:
    """Types of weights that the operator may have where its input has ``bits`` bits."""
    if not importer.quantized:
        return (FLOAT32,)
    four = bits == 8 and operator.name != "TRANSPOSE_CONV"
    return (INT8, INT4) if four else (INT8,)


def _weights_format(
    importer: Importer, operator: TfliteOperator, tensor: TfliteTensor, channels: int, axis: int
) -> PerChannel:
    if any(tensor.zero_points):
        raise importer.fail(
            operator,
            f"the weights {tensor.name!r} have a zero point that is not 0",
            "convert with a converter that follows the TensorFlow Lite 8-bit specification",
        )
    if len(tensor.scales) not in (1, channels):
        raise importer.fail(
            operator, f"the weights have {len(tensor.scales)} scales for {channels} channels"
        )
    return PerChannel(4 if tensor.type == INT4 else 8, tensor.scales, axis)


def _bias_bits(
    importer: Importer, operator: TfliteOperator, bias: TfliteTensor | None, bits: int
) -> int:
    if bias is None:
        return 32 if bits == 8 else 64
    sizes = {INT32: 32, INT64: 64}
    if bias.type not in sizes or (bits == 8 and bias.type != INT32):
        raise importer.fail(operator, f"the bias {bias.name!r} is {bias.type_name}")
    return sizes[bias.type]


def _input_scale(importer: Importer, name: str) -> tuple[float, int]:
    fmt = importer.formats.get(name)
    return (fmt.scale, fmt.bits) if fmt else (1.0, 32)


def conv2d(importer: Importer, operator: TfliteOperator) -> None:
    """CONV_2D: weights (out, h, w, in) as ours."""
    source = importer.value(operator)
    weights = importer.constant(operator, 1)
    strides = operator.integer(2), operator.integer(1)
    dilation = operator.integer(5, default=1), operator.integer(4, default=1)
    kernel = (weights.shape[1], weights.shape[2])
    padding = window_padding(operator, importer.builder.shapes[source], kernel, strides, dilation)
    op = Conv2D(strides, padding, dilation, activation(importer, operator, 3))
    _add_weighted(importer, operator, op, source, weights, 0)


def depthwise_conv2d(importer: Importer, operator: TfliteOperator) -> None:
    """DEPTHWISE_CONV_2D: weights (1, h, w, out)."""
    source = importer.value(operator)
    weights = importer.constant(operator, 1)[0]
    strides = operator.integer(2), operator.integer(1)
    dilation = operator.integer(6, default=1), operator.integer(5, default=1)
    kernel = (weights.shape[0], weights.shape[1])
    padding = window_padding(operator, importer.builder.shapes[source], kernel, strides, dilation)
    op = DepthwiseConv2D(strides, padding, dilation, activation(importer, operator, 4))
    _add_weighted(importer, operator, op, source, weights, 2)


def _add_weighted(
    importer: Importer,
    operator: TfliteOperator,
    op: Conv2D | DepthwiseConv2D | Dense | TransposeConv2D,
    source: str,
    weights: Array,
    axis: int,
) -> None:
    integers, floats = weights_and_bias(
        importer,
        operator,
        (importer.tensor(operator, 1), weights, axis),
        importer.optional(operator, 3 if isinstance(op, TransposeConv2D) else 2),
        _input_scale(importer, source),
    )
    importer.add(operator, op, [source], integers, params=floats)


def fully_connected(importer: Importer, operator: TfliteOperator) -> None:
    """FULLY_CONNECTED: flattens its input unless it keeps the leading axes."""
    source = importer.value(operator)
    weights = importer.constant(operator, 1)
    if operator.integer(1, "b"):
        raise importer.fail(operator, "shuffled weights are not supported")
    shape = importer.builder.shapes[source]
    rows = importer.tensor(operator, 0).rows and shape[-1] == weights.shape[1]
    if not operator.integer(2, "?") and not rows and len(shape) > 1:
        if elements(shape) != weights.shape[1]:
            raise importer.fail(
                operator, f"input of shape {shape} for weights of {weights.shape[1]} inputs"
            )
        name = f"{source}/flat"
        fmt = importer.formats.get(source)
        source = importer.between(name, Reshape((elements(shape),)), [source], fmt)
    op = Dense(activation(importer, operator, 0))
    _add_weighted(importer, operator, op, source, weights, 0)


def transpose_conv2d(importer: Importer, operator: TfliteOperator) -> None:
    """TRANSPOSE_CONV: output shape, weights (out, h, w, in), input, bias."""
    size = [int(v) for v in importer.constant(operator, 0)]
    weights = importer.constant(operator, 1)
    source = importer.value(operator, 2)
    shape = importer.builder.shapes[source]
    strides = operator.integer(2), operator.integer(1)
    if len(size) != 4 or min(strides) < 1:
        raise UnsupportedLayerError("no image", where=importer.where(operator))
    kernel = (weights.shape[1], weights.shape[2])
    total = [
        max(kernel[i] + (shape[i] - 1) * strides[i] - size[1 + i], 0) if len(shape) == 3 else 0
        for i in range(2)
    ]
    top, left = total[0] // 2, total[1] // 2
    padding = Padding(top, total[0] - top, left, total[1] - left)
    op = TransposeConv2D((size[1], size[2]), strides, padding, activation(importer, operator, 3))
    _add_weighted(importer, operator, op, source, weights, 0)
