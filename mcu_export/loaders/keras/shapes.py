"""Keras layers that change the shape alone, or nothing at all once the network is trained."""

from __future__ import annotations

import math
from functools import partial

from mcu_export.loaders.keras.layer import Handler, Layer
from mcu_export.loaders.keras.layers import batch_normalization
from mcu_export.ops import Shape

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


SHAPES: dict[str, Handler] = {
    **dict.fromkeys((*TRAINING_ONLY, "Identity"), nothing),
    "Flatten": flatten,
}

PER_STEP: dict[str, Handler] = {
    "Flatten": partial(flatten, steps=1),
    "Reshape": partial(reshape, steps=1),
    "BatchNormalization": partial(batch_normalization, steps=1),
}
"""What differs where the first axis counts the steps of a TimeDistributed."""
