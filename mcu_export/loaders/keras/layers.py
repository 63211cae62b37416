"""Keras layers that weigh channels: dense, normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.loaders.keras.activations import activate
from mcu_export.loaders.keras.convolutions import bias_of
from mcu_export.loaders.keras.layer import Handler, Layer
from mcu_export.ops import Array, BatchNorm, Dense, Shape

NORMALIZATION_EPSILON = 1e-7  # keras.backend.epsilon(), which a file cannot change


def dense(layer: Layer, inputs: list[str]) -> str:
    """Dense over the last axis: kernel (in, out) becomes (out, in)."""
    shape, units = layer.shape(inputs[0]), layer.sizes("units", 1)[0]
    weights = layer.weight("kernel", (shape[-1], units))
    made = layer.emit(Dense(), inputs[0], weights=weights.T, bias=bias_of(layer, units))
    return activate(layer, made)


def batch_normalization(layer: Layer, inputs: list[str], steps: int = 0) -> str:
    """BatchNormalization by the statistics of the training.

    Of the axes of its input ``steps`` are the steps of a TimeDistributed, which it does not count.
    """
    shape = layer.shape(inputs[0])
    rank = len(shape) - steps
    axis = _axes(layer, rank)
    if axis != [rank]:
        raise layer.unsupported(
            f"normalizes over axis {axis} of {rank + 1}; only the last one is supported",
            "build the network with channels last",
        )
    if layer.setting("mode", 0) != 0 or layer.use.options.get("training") is True:
        raise layer.unsupported("normalizes by the statistics of the batch, not of the training")
    size = (shape[-1],)
    scale, center = layer.flag("scale", True), layer.flag("center", True)
    epsilon = layer.number("epsilon", 1e-3) if layer.bn_epsilon is None else layer.bn_epsilon
    variance = layer.weight("moving_variance", size)
    if np.any(variance + epsilon <= 0):
        raise ModelFileError(
            f"a variance plus the epsilon {epsilon:g} is not positive",
            where=layer.where,
            fix="give a larger epsilon" if layer.bn_epsilon is not None else "train again",
        )
    return layer.emit(
        BatchNorm(epsilon),
        inputs[0],
        gamma=layer.weight("gamma", size) if scale else np.ones(size, np.float32),
        beta=layer.weight("beta", size) if center else np.zeros(size, np.float32),
        mean=layer.weight("moving_mean", size),
        variance=variance,
    )


def normalization(layer: Layer, inputs: list[str]) -> str:
    """Normalization: (x - mean) / max(sqrt(variance), 1e-7), or back."""
    shape = layer.shape(inputs[0])
    axes = _axes(layer, len(shape))
    kept: Shape = tuple(shape[axis - 1] if axis in axes else 1 for axis in range(1, len(shape) + 1))
    if any(size != 1 for size in kept[:-1]):
        raise layer.unsupported(
            f"normalizes over the axes {axes}; only the last one is supported",
            "use Normalization(axis=-1)",
        )
    mean, variance = (_statistic(layer, key, kept[-1]) for key in ("mean", "variance"))
    if np.any(variance < 0):
        raise layer.damaged("a variance is negative")
    deviation = np.maximum(np.sqrt(variance), NORMALIZATION_EPSILON)
    if layer.flag("invert", False):
        return affine(layer, inputs[0], deviation, mean)
    return affine(layer, inputs[0], 1 / deviation, -mean / deviation)


def _statistic(layer: Layer, key: str, size: int) -> Array:
    given = layer.setting(key)
    if given is None:
        return np.asarray(layer.weight(key, (size,)), np.float64)
    return vector(layer, given, key)


def rescaling(layer: Layer, inputs: list[str]) -> str:
    """Rescaling: x * scale + offset, numbers or one of each for each channel."""
    scale, offset = (
        vector(layer, layer.setting(k, d), k) for k, d in (("scale", 1), ("offset", 0))
    )
    return affine(layer, inputs[0], scale, offset)


def vector(layer: Layer, value: Any, key: str) -> Array:
    """A number, or a nested list of numbers, as an array of one axis."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    values = value if isinstance(value, list) else [value]
    if any(isinstance(v, list) for v in values):
        raise layer.unsupported(
            f"{key} has several axes", "only one number, or one for each channel, is supported"
        )
    return np.asarray([layer.as_number(v, key) for v in values], np.float64)


def affine(layer: Layer, value: str, scale: Array, offset: Array) -> str:
    """``value * scale + offset``, each a number or one for each channel."""
    channels = layer.shape(value)[-1]
    if {scale.size, offset.size} - {1, channels}:
        raise layer.unsupported(
            f"has {max(scale.size, offset.size)} factors for {channels} channels",
            "give one number, or one for each channel",
        )
    zeros = np.zeros(channels, np.float32)
    return layer.emit(
        BatchNorm(0.0),
        value,
        gamma=zeros + scale,
        beta=zeros + offset,
        mean=zeros,
        variance=zeros + 1,
    )


def _axes(layer: Layer, rank: int) -> list[int]:
    """The ``axis`` setting as positive axes of a tensor with batch; null is none at all."""
    if layer.spec.config.get("axis", -1) is None:
        return []
    axes = layer.integers(layer.setting("axis", -1), "axis", -rank - 1)
    return sorted(axis % (rank + 1) for axis in axes)


LAYERS: dict[str, Handler] = {
    "Dense": dense,
    "BatchNormalization": batch_normalization,
    "Normalization": normalization,
    "Rescaling": rescaling,
}
