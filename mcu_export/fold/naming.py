"""Folding a checkpoint without a graph, by how the speech command scripts name their variables.

The network itself is not in such a file, so each layer is compared alone, on random windows of
its input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from mcu_export.errors import ModelFileError, UsageError
from mcu_export.fold.base import (
    KEEP,
    NEUTRAL,
    RANDOM_SAMPLES,
    Comparison,
    Folding,
    LayerFold,
    Settings,
    judged,
    require_scales,
    scaled_weights,
)
from mcu_export.ops import Array, BatchNorm, DepthwiseConv2D, Padding

STATISTICS = {
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}
# Scope of a batch norm, as slim and the speech command scripts name it: (pattern, layer scope).
_SCOPES = (
    (re.compile(r"(.*)/(?:batch_norm|BatchNorm|batch_normalization)"), r"\1"),
    (re.compile(r"(.*)/dw_batch_norm"), r"\1/depthwise_conv"),
    (re.compile(r"(.*)/dw_batch_norm"), r"\1/dw_conv"),
    (re.compile(r"(.*)/pw_batch_norm"), r"\1/pointwise_conv"),
    (re.compile(r"(.*)/pw_batch_norm"), r"\1/pw_conv"),
)
_WEIGHTS = ("weights", "depthwise_weights", "kernel", "depthwise_kernel", "W")
_BIASES = ("biases", "bias", "b")
_COUNTERS = re.compile(r"(.*/)?(global_step|beta[12]_power(_\d+)?)")


@dataclass(frozen=True)
class Layer:
    """Names of the variables of a layer and of the batch norm (a scope) behind it."""

    weights: str
    bias: str
    batch_norm: str


@dataclass(frozen=True)
class Done:
    """The new checkpoint and the report of it."""

    tensors: dict[str, Array]
    folding: Folding


def fold_by_naming(source: str, tensors: Mapping[str, Array], settings: Settings) -> Done:
    """The folded checkpoint, by the naming convention ``settings.arch``.

    Raises:
        UsageError: no convention is given, or options need the network.
        ModelFileError: the variables do not follow the convention.
    """
    if not settings.arch:
        raise UsageError(
            "there is no .meta beside the checkpoint: what belongs together is not known",
            where=source,
            fix=f"put the .meta file there, or give --arch {'|'.join(ARCHS)}",
        )
    if settings.samples:
        raise UsageError("samples need the network, which is in the .meta file", where="--samples")
    layers = ARCHS[settings.arch](tensors)
    _check_sizes(source, tensors, settings)
    if not layers and settings.arch != "dnn":
        raise ModelFileError(
            f"has no batch norms, which a {settings.arch} has: it seems to be folded already",
            where=source,
            fix="fold the checkpoint from before the folding",
        )
    folds = [_plan(source, tensors, layer, settings.bn_epsilon) for layer in layers]
    require_scales(folds, source, bool(folds))
    result = {name: array for name, array in tensors.items() if not _is_slot(name, tensors)}
    results = []
    for layer, item in zip(layers, folds, strict=True):
        values = _values(layer, item, tensors)
        results.append(_compared(layer, item, tensors, values))
        norms = [f"{layer.batch_norm}/{name}" for name in STATISTICS.values()]
        norms = [name for name in norms if name in result]
        if settings.batch_norms == NEUTRAL:
            values.update(_neutral(layer, tensors, settings.bn_epsilon))
        elif settings.batch_norms != KEEP:
            for name in norms:
                del result[name]
        for name, value in values.items():
            result[name] = value.reshape(tensors[name].shape).astype(tensors[name].dtype)
    comparison = judged(results, RANDOM_SAMPLES) if results else Comparison(0.0, 0.0, 0)
    return Done(result, Folding(tuple(folds), {}, comparison, "layers"))


def _by_scope(tensors: Mapping[str, Array]) -> list[Layer]:
    """slim's ``scope/weights``, ``scope/batch_norm/...`` and the like."""
    layers = []
    for name in tensors:
        scope, _, last = name.rpartition("/")
        if last != STATISTICS["mean"]:
            continue
        candidates = [
            pattern.sub(layer, scope) for pattern, layer in _SCOPES if pattern.fullmatch(scope)
        ]
        weights = [f"{c}/{w}" for c in candidates for w in _WEIGHTS if f"{c}/{w}" in tensors]
        biases = [f"{c}/{b}" for c in candidates for b in _BIASES if f"{c}/{b}" in tensors]
        if len(weights) != 1 or len(biases) != 1:
            raise ModelFileError(
                f"the batch norm {scope!r} has no layer with weights and biases beside it",
                fix="put the .meta file beside the checkpoint; its graph tells the layer",
            )
        layers.append(Layer(weights[0], biases[0], scope))
    return layers


def _by_position(tensors: Mapping[str, Array]) -> list[Layer]:
    """``Variable`` and ``Variable_1`` belong to ``bn1``, ``Variable_2`` and ``_3`` to ``bn2``."""
    layers: list[Layer] = []
    for number in count(1):
        scope = f"bn{number}"
        if f"{scope}/{STATISTICS['mean']}" not in tensors:
            return layers
        first, second = 2 * number - 2, 2 * number - 1
        names = [f"Variable_{i}" if i else "Variable" for i in (first, second)]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ModelFileError(f"has {scope}, but no {missing[0]}", fix="is --arch right?")
        layers.append(Layer(names[0], names[1], scope))
    return layers


ARCHS = {"dnn": _by_scope, "cnn": _by_position, "cnn2": _by_position, "ds_cnn": _by_scope}


def _plan(source: str, tensors: Mapping[str, Array], layer: Layer, epsilon: float) -> LayerFold:
    """Scale and offset of the layer's batch norm, once its sizes are seen to fit."""
    weights, bias = tensors[layer.weights], tensors[layer.bias]
    channels = bias.size
    params = {"gamma": np.ones(channels), "beta": np.zeros(channels)}
    for role, name in STATISTICS.items():
        variable = f"{layer.batch_norm}/{name}"
        if variable in tensors:
            params[role] = np.asarray(tensors[variable], np.float64)
    outputs = int(np.prod(weights.shape[-2:] if _is_depthwise(layer) else weights.shape[-1:]))
    fits = all(array.shape == (channels,) for array in params.values())
    if outputs != channels or not fits or set(params) != set(STATISTICS):
        raise ModelFileError(
            f"{layer.weights} {weights.shape}, {layer.bias} {bias.shape} and {layer.batch_norm} "
            "do not belong together",
            where=source,
            fix="is --arch right? With the .meta file beside the checkpoint it is not needed",
        )
    if np.any(params["variance"] + epsilon <= 0):
        raise ModelFileError("a variance is not positive", where=f"{source}: {layer.batch_norm}")
    scale, offset = BatchNorm(epsilon).scale_and_offset(params)
    return LayerFold(layer.weights, (layer.batch_norm,), (epsilon,), scale, offset)


def _is_depthwise(layer: Layer) -> bool:
    return "depthwise" in layer.weights.rpartition("/")[2]


def _values(layer: Layer, item: LayerFold, tensors: Mapping[str, Array]) -> dict[str, Array]:
    op = DepthwiseConv2D((1, 1), Padding()) if _is_depthwise(layer) else None
    bias = np.asarray(tensors[layer.bias], np.float64)
    return {
        layer.weights: scaled_weights(op, tensors[layer.weights], item.scale),
        layer.bias: bias * item.scale + item.offset,
    }


def _neutral(layer: Layer, tensors: Mapping[str, Array], epsilon: float) -> dict[str, Array]:
    numbers = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0 - epsilon}
    names = {f"{layer.batch_norm}/{name}": numbers[role] for role, name in STATISTICS.items()}
    return {n: np.full(tensors[n].shape, number) for n, number in names.items() if n in tensors}


def _compared(
    layer: Layer, item: LayerFold, tensors: Mapping[str, Array], values: Mapping[str, Array]
) -> tuple[Array, Array]:
    """The layer and its batch norm, and the folded layer, on random windows."""
    weights = np.asarray(tensors[layer.weights], np.float64)
    folded = values[layer.weights].astype(tensors[layer.weights].dtype).astype(np.float64)
    bias = np.asarray(tensors[layer.bias], np.float64)
    folded_bias = values[layer.bias].astype(tensors[layer.bias].dtype).astype(np.float64)
    outputs = bias.size
    if _is_depthwise(layer):
        rows = [array.reshape(-1, outputs) for array in (weights, folded)]
        x = np.random.default_rng(0).standard_normal((RANDOM_SAMPLES, len(rows[0]), outputs))
        sums = [(x * row).sum(axis=1) for row in rows]
    else:
        rows = [array.reshape(-1, outputs) for array in (weights, folded)]
        x = np.random.default_rng(0).standard_normal((RANDOM_SAMPLES, len(rows[0])))
        sums = [x @ row for row in rows]
    return (sums[0] + bias) * item.scale + item.offset, sums[1] + folded_bias


def _is_slot(name: str, tensors: Mapping[str, Array]) -> bool:
    """Whether an optimizer or a counter of the training owns the variable.

    A slot is called ``variable/Slot``, has the shape of its variable, or is a scalar.
    """
    base, _, _ = name.rpartition("/")
    return base in tensors or _COUNTERS.fullmatch(name) is not None


def _check_sizes(source: str, tensors: Mapping[str, Array], settings: Settings) -> None:
    """``--model-size-info`` must fit the shapes of the file.

    The scripts list: dnn, the neurons of each layer; cnn and cnn2, per convolution filters, height,
    width and strides, then the linear and the dense layer; ds_cnn, the number of layers, then per
    layer filters, height, width and strides.
    """
    sizes = settings.size_info
    wanted: list[tuple[int, ...]]
    if settings.arch == "dnn":
        wanted = [(size,) for size in sizes]
    elif settings.arch == "ds_cnn":
        wanted = [sizes[i : i + 3] for i in range(1, len(sizes), 5)]
    else:
        wanted = [sizes[i : i + 3] for i in (0, 5)] + [(size,) for size in sizes[10:]]
    shapes = [array.shape for name, array in tensors.items() if not _is_slot(name, tensors)]
    for size in wanted if sizes else ():
        if not any(_has_size(shape, size) for shape in shapes):
            raise ModelFileError(
                f"no variable has the size {size}, which --model-size-info gives",
                where=source,
                fix="leave the option out: the sizes are in the file",
            )


def _has_size(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Whether weights of that shape have (filters) or (filters, height, width)."""
    if len(size) == 1:
        return shape[-1:] == size
    depthwise = (*size[1:], size[0], 1)
    return shape == depthwise or (len(shape) == 4 and (*shape[3:], *shape[:2]) == size)
