"""Keras layers without weights that are no windows: activations, sums, shapes, dropouts."""

from __future__ import annotations

import math
from functools import partial

from mcu_export.loaders.keras_layer import Handler, Layer, relu
from mcu_export.ops import Add, Shape

# They do something only while the network is trained.
TRAINING_ONLY = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)


def nothing(layer: Layer, inputs: list[str]) -> str:
    """A layer that is the identity once the network is trained."""
    if layer.use.options.get("training") is True:
        raise layer.unsupported(
            "is called with training=True, so it stays random after the training",
            "call the layer without training=True",
        )
    return inputs[0]


def activation(layer: Layer, inputs: list[str]) -> str:
    """An Activation layer; the node bears the layer's name."""
    return layer.activate(inputs[0], part=False)


def add(layer: Layer, inputs: list[str]) -> str:
    """The sum of two or more tensors of the same shape."""
    total = inputs[0]
    for number, other in enumerate(inputs[1:], start=1):
        last = number == len(inputs) - 1
        total = layer.emit(Add(), total, other, part="" if last else str(number))
    return total


def flatten(layer: Layer, inputs: list[str], steps: int = 0) -> str:
    """Flatten all axes but the first ``steps``."""
    shape = layer.shape(inputs[0])
    if len(shape) > 1:
        layer.require_channels_last()
    return layer.reshape(inputs[0], (*shape[:steps], math.prod(shape[steps:])))


def reshape(layer: Layer, inputs: list[str], steps: int = 0) -> str:
    """Reshape, where one size may be -1; the first ``steps`` axes stay."""
    shape = layer.shape(inputs[0])
    wanted = layer.integers(layer.setting("target_shape", []), "target_shape", -1)
    return layer.reshape(inputs[0], (*shape[:steps], *resolved(layer, wanted, shape[steps:])))


def resolved(layer: Layer, wanted: list[int], shape: Shape) -> Shape:
    """``wanted`` with its -1 replaced by what is left of the elements of ``shape``."""
    known = math.prod(size for size in wanted if size != -1)
    total = math.prod(shape)
    unknown = wanted.count(-1)
    if unknown > 1 or known < 1 or total % known or (not unknown and known != total):
        raise layer.damaged(f"cannot reshape {shape} to {wanted}")
    return tuple(total // known if size == -1 else size for size in wanted)


def permute(layer: Layer, inputs: list[str]) -> str:
    """Permute; ``dims`` counts the axes from 1."""
    return moved_axes(layer, inputs[0], layer.integers(layer.setting("dims", []), "dims", 1))


def moved_axes(layer: Layer, value: str, order: list[int]) -> str:
    """The value with its axes in another order, counted from 1; only those of size 1 may move."""
    shape = layer.shape(value)
    if sorted(order) != list(range(1, len(shape) + 1)):
        raise layer.damaged(f"cannot permute {shape} by {order}")
    moved = [axis for axis in order if shape[axis - 1] != 1]
    if moved != sorted(moved):
        raise layer.unsupported(
            f"permuting {shape} by {order} moves values",
            "only axes of size 1 may move; transpose the samples instead",
        )
    return layer.reshape(value, tuple(shape[axis - 1] for axis in order))


SHAPES: dict[str, Handler] = {
    **dict.fromkeys((*TRAINING_ONLY, "Identity"), nothing),
    "Activation": activation,
    "Flatten": flatten,
    "Permute": permute,
    "ReLU": relu,
}

PER_STEP: dict[str, Handler] = {
    "Flatten": partial(flatten, steps=1),
    "Reshape": partial(reshape, steps=1),
}
"""What differs where the first axis counts the steps of a TimeDistributed."""
