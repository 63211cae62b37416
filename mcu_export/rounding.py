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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcu_export.graph import Node
from mcu_export.nearest_plane import Products, diagonals, round_compensated, usual_damping
from mcu_export.ops import Array, Params
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.arithmetic import Accumulate
from mcu_export.search import Measured, Meter
from mcu_export.taps import TAPPED, input_rows, tap_count, weight_parts, whole_weights

# A channel that hardly ever lies between its limits cannot be moved by its bias.
MIN_ACTIVE = 0.02

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
    nodes = [node for node in meter.graph.nodes if isinstance(node.op, TAPPED)]
    best = _all_at_once(meter, start, nodes, tried, max_taps, end)
    for index, node in enumerate(nodes):
        if meter.work >= end:
            return best
        for propose in _possible(tried, node, max_taps):
            choice = best.choice.with_values(node.name, propose(meter, best, node))
            best = meter.better(choice, best) or best
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


def corrected_bias(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's constants with the mean error of each channel taken from its bias."""
    layer, name = now.layers[node.name], node.name
    shift = missing_bias(layer, now.outputs(name), meter.real(name))
    constants = now.choice.values.get(name, node.params)
    return {"weights": constants["weights"], "bias": np.asarray(constants["bias"]) + shift}


def missing_bias(layer: QuantNode, outputs: Sequence[Array], real: Sequence[Array]) -> Array:
    """What each channel's bias lacks, in real units, for outputs that are right in the mean.

    A bias moves only outputs that lie between the limits, so the error is divided by their share.

    Args:
        layer: the layer in integers.
        outputs: its integer outputs (samples, *shape), batch by batch.
        real: what they should be.
    """
    a, channels = layer.arithmetic, layer.node.shape[-1]
    error = _channel_means(real, channels) - layer.format.dequantize(
        _channel_means(outputs, channels)
    )
    share = _channel_means([(out > a.low) & (out < a.high) for out in outputs], channels)
    shift: Array = np.where(share >= MIN_ACTIVE, error / np.maximum(share, MIN_ACTIVE), 0.0)
    return shift


def _channel_means(batches: Sequence[Array], channels: int) -> Array:
    """Means over all but the last axis, float64; over samples in float32, which is fast."""
    sums = np.stack([x.sum(axis=0, dtype=np.float32) for x in batches]).reshape(-1, channels)
    means: Array = sums.sum(axis=0, dtype=np.float64)
    return means * channels / sum(x.size for x in batches)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the outputs of each part see: ``rows`` (parts, rows, taps), integers in float32.

    ``missing`` is what they lack to the inputs in float, in the same steps; None where it is not
    to be made up for. ``samples`` is how many the rows come from.
    """

    rows: Array
    samples: int
    missing: Array | None = None


def compensated_weights(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's constants rounded one after the other, each making up for those before.

    The bias comes first: with 8 bits it is often the coarsest of all.
    """
    return _compensated(now, node, _inputs(now, node))


def adapted_weights(meter: Meter, now: Measured, node: Node) -> Params:
    """As :func:`compensated_weights`; inputs of 16 bits are made up for too.

    Their errors come from the weights before and follow from the inputs; those of 8 bits are mostly
    rounding, which does not.
    """
    made, name = now.layers.get(node.inputs[0]), node.inputs[0]
    fmt = now.choice.activations[name] if made is None else made.format
    if fmt.bits == 8:
        return compensated_weights(meter, now, node)
    seen = _inputs(now, node)
    wanted = input_rows(node, [np.ldexp(x, fmt.frac_bits) for x in meter.real(name)])
    return _compensated(now, node, replace(seen, missing=wanted - seen.rows))


def _inputs(now: Measured, node: Node) -> Inputs:
    batches = now.inputs(node.name)
    return Inputs(input_rows(node, batches), sum(map(len, batches)))


def _compensated(now: Measured, node: Node, inputs: Inputs) -> Params:
    """Constants of a layer, on their grids, for what its outputs see.

    A bias is the weight of an input that is always ``1 << bias_shift``. What is compensated is the
    error itself, not its deviation from the mean: there is nothing after it that could take a mean.
    """
    layer, weights = now.layers[node.name], weight_parts(node)
    bias = np.asarray(node.params["bias"], np.float64).reshape(weights.shape[:2])
    arithmetic, formats = layer.arithmetic, layer.param_formats
    assert isinstance(arithmetic, Accumulate)
    columns = [formats["bias"], *[formats["weights"]] * weights.shape[2]]
    scale = np.array([2.0**fmt.frac_bits for fmt in columns])
    low, high = (np.array([getattr(fmt, end) for fmt in columns]) for end in ("lowest", "highest"))
    products = Products.of(inputs.rows, 2.0**arithmetic.bias_shift)
    both = products.damped(usual_damping(weights.shape[2], inputs.rows.shape[1]))
    taps_order = 1 + np.argsort(-diagonals(both)[:, 1:], axis=1, kind="stable")
    order = np.concatenate([np.zeros((len(both), 1), np.int64), taps_order], axis=1)
    wanted = np.concatenate([bias[:, :, None], weights], axis=2) * scale
    if inputs.missing is not None:
        wanted = wanted + _made_up(weights * scale[1:], inputs, products)
    rounded = round_compensated(wanted, both, low, high, order) / scale
    return {"weights": whole_weights(node, rounded[:, :, 1:]), "bias": rounded[:, :, 0].ravel()}


def _made_up(weights: Array, inputs: Inputs, products: Products) -> Array:
    """What to add to bias and weights, in their steps, for what the inputs lack: least squares.

    Source: Li et al. 2025, "GPTAQ", here with a ridge, because few samples would be fitted too
    well: the inputs' mean variance, or less where there are more samples than taps.
    """
    rows, missing = inputs.rows, inputs.missing
    assert missing is not None
    with_inputs = (missing.transpose(0, 2, 1) @ rows).astype(np.float64) / rows.shape[1]
    with_bias = products.one * missing.mean(axis=1, dtype=np.float64)
    lacking = weights @ np.concatenate([with_bias[:, :, None], with_inputs], axis=2)
    damped = products.damped(min(1.0, weights.shape[2] / inputs.samples))
    return np.stack([_solved(*one) for one in zip(damped, lacking, strict=True)])


def _solved(products: Array, lacking: Array) -> Array:
    """What follows from inputs with these products; nothing from those that never change."""
    try:
        solved: Array = np.linalg.solve(products, lacking.T).T
    except np.linalg.LinAlgError:
        return np.zeros_like(lacking)
    return solved
