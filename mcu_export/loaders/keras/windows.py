"""Keras layers that slide windows over images or sequences, and what they have in common.

A sequence (length, channels) is an image of height 1; under TimeDistributed it is an image whose
rows are the steps, and a window covers one of them.
"""

from __future__ import annotations

from functools import partial

from mcu_export.loaders.keras.layer import Handler, Layer, Pair
from mcu_export.loaders.keras.moves import Indices, take
from mcu_export.ops import AveragePool2D, MaxPool2D, Pad, Padding, Reshape, Shape
from mcu_export.ops.windows import same_padding_2d


def is_1d(layer: Layer) -> bool:
    """Whether the layer works on sequences."""
    return "1D" in layer.spec.class_name


def as_image(layer: Layer, value: str) -> str:
    """The value as (H, W, C)."""
    shape = image_shape(layer, value)
    return layer.reshape(value, shape, "image")


def image_shape(layer: Layer, value: str) -> Shape:
    """Shape (H, W, C) under which the layer sees the value."""
    shape = layer.shape(value)
    if is_1d(layer) and len(shape) == 2:
        return (1, *shape)
    if len(shape) != 3:
        raise layer.damaged(f"the input of shape {shape} does not fit the layer")
    return shape


def restore(layer: Layer, source: str, made: str) -> str:
    """``made`` as a sequence if ``source`` was one."""
    if len(layer.shape(source)) == 2:
        return layer.emit(Reshape(layer.shape(made)[1:]), made, part="sequence")
    return made


def spatial(layer: Layer, key: str, default: int | None = None) -> Pair:
    """A setting for height and width; in 1-D the height is 1."""
    if is_1d(layer):
        return 1, layer.sizes(key, 1, default)[0]
    height, width = layer.sizes(key, 2, default)
    return height, width


def window(layer: Layer, shape: Shape, kernel: Pair) -> tuple[Pair, Padding, Pair]:
    """Strides, explicit padding and dilation of a convolution."""
    strides = spatial(layer, "strides", 1)
    dilation = spatial(layer, "dilation_rate", 1)
    return strides, _padding(layer, shape, kernel, strides, dilation), dilation


def _padding(layer: Layer, shape: Shape, kernel: Pair, strides: Pair, dilation: Pair) -> Padding:
    mode = layer.text("padding", "valid").lower()
    if mode == "valid":
        return Padding()
    if mode == "same":
        return same_padding_2d(shape, kernel, strides, dilation)
    if mode == "causal" and is_1d(layer):
        return Padding(left=(kernel[1] - 1) * dilation[1])
    raise layer.unsupported(f"padding={mode[:20]!r} is not supported", "use 'valid' or 'same'")


def pool(layer: Layer, inputs: list[str], op: type[MaxPool2D] | type[AveragePool2D]) -> str:
    """Max and average pooling of images and sequences."""
    layer.require_channels_last()
    image = as_image(layer, inputs[0])
    kernel = spatial(layer, "pool_size", 2)
    strides = kernel if layer.setting("strides") is None else spatial(layer, "strides")
    padding = _padding(layer, layer.shape(image), kernel, strides, (1, 1))
    return restore(layer, inputs[0], layer.emit(op(kernel, strides, padding), image))


def global_pool(layer: Layer, inputs: list[str], op: type[MaxPool2D] | type[AveragePool2D]) -> str:
    """A pooling whose window is the image; over steps of TimeDistributed it is one row."""
    layer.require_channels_last()
    shape = layer.shape(inputs[0])
    image = as_image(layer, inputs[0])
    height, width, channels = layer.shape(image)
    kernel = (1 if is_1d(layer) else height, width)
    made = layer.emit(op(kernel, kernel), image)
    steps = shape[:-2] if is_1d(layer) else ()
    kept = (1,) * (len(shape) - 1 - len(steps)) if layer.flag("keepdims", False) else ()
    return layer.reshape(made, (*steps, *kept, channels), "flat")


def zero_padding(layer: Layer, inputs: list[str]) -> str:
    """ZeroPadding1D and ZeroPadding2D."""
    layer.require_channels_last()
    padding = _borders(layer, layer.setting("padding", 1))
    image = as_image(layer, inputs[0])
    return restore(layer, inputs[0], layer.emit(Pad(padding), image))


def cropping(layer: Layer, inputs: list[str]) -> str:
    """Cropping1D and Cropping2D."""
    layer.require_channels_last()
    cut = _borders(layer, layer.setting("cropping", 0))
    height, width, _ = image_shape(layer, inputs[0])
    rows, columns = range(height)[cut.top : height - cut.bottom], range(width)
    columns = columns[cut.left : width - cut.right]
    if not rows or not columns:
        raise layer.damaged(f"crops {height}x{width} by {cut.text()}; nothing is left")
    return _selected(layer, inputs[0], tuple(rows), tuple(columns))


def upsampling(layer: Layer, inputs: list[str]) -> str:
    """UpSampling1D and UpSampling2D that repeat rows and columns."""
    layer.require_channels_last()
    how = layer.text("interpolation", "nearest")
    if how != "nearest":
        raise layer.unsupported(
            f"interpolation={how[:20]!r} is not supported", "use interpolation='nearest'"
        )
    height, width, channels = image_shape(layer, inputs[0])
    tall, wide = spatial(layer, "size", 2)
    layer.require_plausible((height * tall, width * wide, channels))
    rows = tuple(row // tall for row in range(height * tall))
    columns = tuple(column // wide for column in range(width * wide))
    return _selected(layer, inputs[0], rows, columns)


def _selected(layer: Layer, value: str, rows: Indices, columns: Indices) -> str:
    """Rows and columns of an image, steps of a sequence; counted from the last axis."""
    rank = len(layer.shape(value))
    chosen = {rank - 2: columns}
    if rank > 2:
        chosen[rank - 3] = rows
    return take(layer, value, chosen)


def _borders(layer: Layer, value: object) -> Padding:
    """``n``, ``(before, after)``, ``(height, width)`` or ``((top, bottom), (left, right))``."""
    if is_1d(layer):
        sizes = layer.integers(value, layer.spec.class_name, 0)
        if len(sizes) in (1, 2):
            return Padding(left=sizes[0], right=sizes[-1])
        raise layer.damaged(f"pads a sequence by {sizes}")
    parts = value if isinstance(value, list) else [value]
    rows, columns = parts[0], parts[-1]
    if len(parts) == 4:  # Keras 1: top, bottom, left, right
        rows, columns = parts[:2], parts[2:]
    sides = [layer.integers(side, layer.spec.class_name, 0) for side in (rows, columns)]
    if len(parts) not in (1, 2, 4) or any(len(side) not in (1, 2) for side in sides):
        raise layer.damaged(f"pads an image by {str(value)[:60]}")
    (top, bottom), (left, right) = ((side[0], side[-1]) for side in sides)
    return Padding(top, bottom, left, right)


max_pool, average_pool = (partial(pool, op=op) for op in (MaxPool2D, AveragePool2D))
global_max, global_average = (partial(global_pool, op=op) for op in (MaxPool2D, AveragePool2D))

WINDOWS: dict[str, Handler] = {
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D"), average_pool),
    **dict.fromkeys(("Cropping1D", "Cropping2D"), cropping),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalAveragePooling2D"), global_average),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D"), global_max),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D"), max_pool),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D"), upsampling),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D"), zero_padding),
}
