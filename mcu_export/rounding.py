"""Rounding learned layer by layer: constants whose errors cancel on real inputs.

Rounding each weight to the nearest integer is best for the weights, not for the layer's output.
Two remedies, both from the layer's integer inputs on samples, and both kept only where they lower
the error of the network's output:

* compensated rounding: bias and weights are rounded one after the other, and the error of each is
  spread over those that are still to come, such that the output changes least. Source: Frantar et
  al. 2022, "GPTQ", after Hassibi and Stork 1993, "Optimal Brain Surgeon". With 16-bit inputs they
  also make up for what the layers before have lost.
* bias correction: the mean error of each channel after the activation is taken from the bias.
  Source: Nagel et al. 2019, "Data-Free Quantization", section 4.2, here measured on samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mcu_export.graph import Node
from mcu_export.nearest_plane import DAMPING, Products, diagonals, round_compensated
from mcu_export.ops import Array, Conv2D, Dense, DepthwiseConv2D, Op, Params
from mcu_export.ops.base import Shape
from mcu_export.ops.windows import pad_image, windows
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.arithmetic import Accumulate
from mcu_export.scout import Scout
from mcu_export.search import Measured, Meter

MAX_ROWS = 4096
SAMPLES_AT_ONCE = 16
# A channel that hardly ever lies between its limits cannot be moved by its bias.
MIN_ACTIVE = 0.02

# Damping where weights are fitted to inputs, not only rounded.
RIDGE = 1.0

# The constants of a layer that might be better, from the network as it is.
Remedy = Callable[[Meter, Measured, Node], Params]


def learn_rounding(
    meter: Meter,
    start: Measured,
    max_taps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    work: float = math.inf,
    remedies: tuple[Remedy, ...] | None = None,
) -> Measured:
    """Learned constants for each conv, depthwise and dense layer that gains by them.

    Never worse than ``start``.

    Args:
        meter: measures on samples.
        start: what to improve.
        max_taps: layers that sum over more keep their weights: the cost grows with the cube.
        progress: called with layers done and in all.
        work: that may be done, as :func:`mcu_export.search.layer_work` counts it.
        remedies: what is tried, in order; by default compensated weights, then corrected biases.
    """
    tried = (compensated_weights, corrected_bias) if remedies is None else remedies
    end = meter.work + work
    nodes = [node for node in meter.graph.nodes if isinstance(node.op, tuple(_ROWS))]
    best = _all_at_once(meter, start, nodes, tried, max_taps, end)
    if meter.work >= end:
        return best
    scout = Scout(meter, best.choice)
    for index, node in enumerate(nodes):
        if meter.work >= end:
            return best
        for propose in _possible(tried, node, max_taps):
            best = _better(meter, scout, best, node, propose)
        progress(index + 1, len(nodes))
    return best


def _all_at_once(
    meter: Meter,
    start: Measured,
    nodes: list[Node],
    remedies: tuple[Remedy, ...],
    max_taps: int,
    end: float,
) -> Measured:
    """The best after each remedy for all layers: errors of one may hide what another one gains."""
    best = now = start
    for propose in remedies:
        for node in nodes:
            if meter.work >= end:
                return best
            if propose in _possible(remedies, node, max_taps):
                seen = meter.measure(now.choice, now, until=node.name)
                values = propose(meter, seen, node)
                now = replace(seen, choice=now.choice.with_values(node.name, values))
        now = meter.measure(now.choice, now)
        best = min(best, now, key=lambda measured: measured.error)
    return best


def _possible(remedies: tuple[Remedy, ...], node: Node, max_taps: int) -> list[Remedy]:
    few = tap_count(node) <= max_taps
    return [remedy for remedy in remedies if few or remedy is corrected_bias]


def _better(meter: Meter, scout: Scout, best: Measured, node: Node, propose: Remedy) -> Measured:
    """The best after a remedy for one layer."""
    choice = best.choice.with_values(node.name, propose(meter, best, node))
    if scout.rejects(choice):
        return best
    changed = meter.measure(choice, best)
    if changed.error >= best.error:
        return best
    scout.follow()
    return changed


def tap_count(node: Node) -> int:
    """Over how many products one output of a conv, depthwise or dense layer sums."""
    shape = node.params["weights"].shape
    return int(np.prod(shape[:2] if isinstance(node.op, DepthwiseConv2D) else shape[1:]))


def corrected_bias(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's constants with the mean error of each channel taken from its bias."""
    run, constants = now.layers[node.name], _constants(now, node)
    shift = missing_bias(run.layer, run.output, meter.real[node.name])
    return {"weights": constants["weights"], "bias": np.asarray(constants["bias"]) + shift}


def missing_bias(layer: QuantNode, output: Array, real: Array) -> Array:
    """What each channel's bias lacks, in real units, for outputs that are right in the mean.

    A bias moves only outputs that lie between the limits, so the error is divided by their share.

    Args:
        layer: the layer in integers.
        output: its integer output (samples, *shape).
        real: what the output should be.
    """
    a, channels = layer.arithmetic, layer.node.shape[-1]
    error = _channel_means(real, channels) - layer.format.dequantize(
        _channel_means(output, channels)
    )
    between = (output > a.low) & (output < a.high)
    share = _channel_means(between, channels)
    shift: Array = np.where(share >= MIN_ACTIVE, error / np.maximum(share, MIN_ACTIVE), 0.0)
    return shift


def _channel_means(x: Array, channels: int) -> Array:
    """Means over all but the last axis, float64; over samples first, in float32, which is fast."""
    over_samples = x.mean(axis=0, dtype=np.float32).reshape(-1, channels)
    means: Array = over_samples.mean(axis=0, dtype=np.float64)
    return means


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the outputs of each part see: ``rows`` (parts, rows, taps), integers in float32.

    ``missing`` is what they lack to the inputs in float, in the same steps; None where it is not
    to be made up for.
    """

    rows: Array
    missing: Array | None = None


def compensated_weights(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's constants rounded one after the other, each making up for those before.

    The bias comes first: with 8 bits it is often the coarsest of all.
    """
    return _compensated(now, node, Inputs(input_rows(node, now.layers[node.name].inputs[0])))


def adapted_weights(meter: Meter, now: Measured, node: Node) -> Params:
    """As :func:`compensated_weights`; inputs of 16 bits are made up for too.

    Their errors come from the weights before and follow from the inputs; those of 8 bits are mostly
    rounding, which does not.
    """
    made, name = now.layers.get(node.inputs[0]), node.inputs[0]
    fmt = now.choice.activations[name] if made is None else made.layer.format
    if fmt.bits == 8:
        return compensated_weights(meter, now, node)
    rows = input_rows(node, now.layers[node.name].inputs[0])
    wanted = input_rows(node, np.ldexp(meter.real[name], fmt.frac_bits))
    return _compensated(now, node, Inputs(rows, wanted - rows))


def _compensated(now: Measured, node: Node, inputs: Inputs) -> Params:
    """Constants of a layer, on their grids, for what its outputs see.

    A bias is the weight of an input that is always ``1 << bias_shift``. What is compensated is the
    error itself, not its deviation from the mean: there is nothing after it that could take a mean.
    """
    layer, weights = now.layers[node.name].layer, weight_parts(node)
    bias = np.asarray(node.params["bias"], np.float64).reshape(weights.shape[:2])
    arithmetic, formats = layer.arithmetic, layer.param_formats
    assert isinstance(arithmetic, Accumulate)
    columns = [formats["bias"], *[formats["weights"]] * weights.shape[2]]
    scale = np.array([2.0**fmt.frac_bits for fmt in columns])
    low, high = (np.array([getattr(fmt, end) for fmt in columns]) for end in ("lowest", "highest"))
    products = Products.of(inputs.rows, 2.0**arithmetic.bias_shift)
    both = products.damped(DAMPING)
    taps_order = 1 + np.argsort(-diagonals(both)[:, 1:], axis=1, kind="stable")
    order = np.concatenate([np.zeros((len(both), 1), np.int64), taps_order], axis=1)
    wanted = np.concatenate([bias[:, :, None], weights], axis=2) * scale
    if inputs.missing is not None:
        wanted = wanted + _made_up(weights * scale[1:], inputs, products)
    rounded = round_compensated(wanted, both, low, high, order) / scale
    return {"weights": whole_weights(node, rounded[:, :, 1:]), "bias": rounded[:, :, 0].ravel()}


def weight_parts(node: Node) -> Array:
    """The weights, float64, as (parts, outputs, taps): outputs of a part read the same inputs."""
    weights = np.asarray(node.params["weights"], np.float64)
    if isinstance(node.op, DepthwiseConv2D):
        return weights.reshape(-1, weights.shape[2]).T[:, None, :]
    return weights.reshape(1, len(weights), -1)


def whole_weights(node: Node, parts: Array) -> Array:
    """The weights in the order of the graph; undoes :func:`weight_parts`."""
    whole = parts
    if isinstance(node.op, DepthwiseConv2D):
        whole = whole.reshape(-1, whole.shape[-1]).T
    return whole.reshape(np.shape(node.params["weights"]))


def _constants(now: Measured, node: Node) -> Params:
    return now.choice.values.get(node.name, node.params)


def _made_up(weights: Array, inputs: Inputs, products: Products) -> Array:
    """What to add to bias and weights, in their steps, for what the inputs lack: least squares.

    Source: Li et al. 2025, "GPTAQ", here with a ridge, because few rows would be fitted too well.
    """
    rows, missing = inputs.rows, inputs.missing
    assert missing is not None
    with_inputs = (missing.transpose(0, 2, 1) @ rows).astype(np.float64) / rows.shape[1]
    with_bias = products.one * missing.mean(axis=1, dtype=np.float64)
    lacking = weights @ np.concatenate([with_bias[:, :, None], with_inputs], axis=2)
    damped = products.damped(RIDGE)
    return np.stack([_solved(*one) for one in zip(damped, lacking, strict=True)])


def _solved(products: Array, lacking: Array) -> Array:
    """What follows from inputs with these products; nothing from those that never change."""
    try:
        solved: Array = np.linalg.solve(products, lacking.T).T
    except np.linalg.LinAlgError:
        return np.zeros_like(lacking)
    return solved


# Draws some of the places of this shape where a layer has outputs: an index of each axis.
Draw = Callable[[Shape], tuple[Array, ...]]


def input_rows(node: Node, x: Array) -> Array:
    """What the outputs of each part see: (parts, rows, taps), integers in float32.

    About :data:`MAX_ROWS`, as many of each sample, at positions drawn by a fixed seed: those at
    equal distances would all lie in the same columns of some image.
    """
    generator, found = np.random.default_rng(0), []
    for start in range(0, len(x), SAMPLES_AT_ONCE):
        some = x[start : start + SAMPLES_AT_ONCE]
        wanted = -(-MAX_ROWS * len(some) // len(x))

        def draw(places: Shape, wanted: int = wanted) -> tuple[Array, ...]:
            drawn = np.sort(generator.permutation(math.prod(places))[:wanted])
            return np.unravel_index(drawn, places)

        found.append(_ROWS[type(node.op)](node, some, draw))
    return np.concatenate(found, axis=1)


def _dense_rows(node: Node, x: Array, draw: Draw) -> Array:
    return x[draw(x.shape[:-1])][None]


def _conv_rows(node: Node, x: Array, draw: Draw) -> Array:
    assert isinstance(node.op, Conv2D)
    rows = _windows(node.op, x, node.params["weights"].shape[1:3], draw)
    return rows.reshape(1, len(rows), -1)


def _depthwise_rows(node: Node, x: Array, draw: Draw) -> Array:
    assert isinstance(node.op, DepthwiseConv2D)
    weights = node.params["weights"]
    rows = _windows(node.op, x, weights.shape[:2], draw)
    taps_first = rows.reshape(len(rows), -1, x.shape[3]).transpose(2, 0, 1)
    return np.repeat(taps_first, weights.shape[2] // x.shape[3], axis=0)


def _windows(op: Conv2D | DepthwiseConv2D, x: Array, kernel: Shape, draw: Draw) -> Array:
    """What drawn outputs see of an image: (rows, kernel_h, kernel_w, C)."""
    seen = windows(pad_image(x, op.padding), (kernel[0], kernel[1]), op.strides, op.dilation)
    rows: Array = seen[draw(seen.shape[:3])]
    return rows


_ROWS: dict[type[Op], Callable[[Node, Array, Draw], Array]] = {
    Conv2D: _conv_rows,
    DepthwiseConv2D: _depthwise_rows,
    Dense: _dense_rows,
}
