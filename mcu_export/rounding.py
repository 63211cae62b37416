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
from mcu_export.nearest_plane import DAMPING, Products, round_compensated
from mcu_export.ops import Array, Conv2D, Dense, DepthwiseConv2D, Op, Params
from mcu_export.ops.windows import pad_image, patches, taps
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.arithmetic import Accumulate
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
    for index, node in enumerate(nodes):
        if meter.work >= end:
            return best
        for propose in _possible(tried, node, max_taps):
            changed = _changed(meter, best, node, propose)
            if changed.error < best.error:
                best = changed
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


def _changed(meter: Meter, now: Measured, node: Node, propose: Remedy) -> Measured:
    values = propose(meter, now, node)
    return meter.measure(now.choice.with_values(node.name, values), now)


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
    error = real - layer.format.dequantize(output)
    between = (output > a.low) & (output < a.high)
    share = between.reshape(-1, channels).mean(axis=0)
    mean = error.reshape(-1, channels).mean(axis=0)
    shift: Array = np.where(share >= MIN_ACTIVE, mean / np.maximum(share, MIN_ACTIVE), 0.0)
    return shift


def compensated_weights(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's constants rounded one after the other, each making up for those before.

    The bias comes first: with 8 bits it is often the coarsest of all.
    """
    rows = input_rows(node, now.layers[node.name].inputs[0])
    return _compensated(now, node, rows, np.zeros((len(rows), 0, 0), np.float32))


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
    return _compensated(now, node, rows, wanted - rows)


def _compensated(now: Measured, node: Node, rows: Array, missing: Array) -> Params:
    """Constants of a layer for inputs (parts, rows, taps) that lack ``missing``."""
    parts = weight_parts(node)
    biases = np.asarray(node.params["bias"], np.float64).reshape(parts.shape[:2])
    both = [
        _compensate(weights, bias, Inputs(some, lacking), now.layers[node.name].layer)
        for weights, bias, some, lacking in zip(parts, biases, rows, missing, strict=True)
    ]
    weights = whole_weights(node, [weights for weights, _ in both])
    return {"weights": weights, "bias": np.concatenate([b for _, b in both])}


def weight_parts(node: Node) -> Array:
    """The weights, float64, as (parts, outputs, taps): outputs of a part read the same inputs."""
    weights = np.asarray(node.params["weights"], np.float64)
    if isinstance(node.op, DepthwiseConv2D):
        return weights.reshape(-1, weights.shape[2]).T[:, None, :]
    return weights.reshape(1, len(weights), -1)


def whole_weights(node: Node, parts: Sequence[Array]) -> Array:
    """The weights in the order of the graph; undoes :func:`weight_parts`."""
    whole = np.stack(parts)
    if isinstance(node.op, DepthwiseConv2D):
        whole = whole.reshape(-1, whole.shape[-1]).T
    return whole.reshape(np.shape(node.params["weights"]))


def _constants(now: Measured, node: Node) -> Params:
    return now.choice.values.get(node.name, node.params)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the outputs of a part see: ``rows`` (rows, taps), integers in float32.

    ``missing`` is what they lack to the inputs in float, in the same steps; no rows where it is not
    to be made up for.
    """

    rows: Array
    missing: Array


def _compensate(
    weights: Array, bias: Array, inputs: Inputs, layer: QuantNode
) -> tuple[Array, Array]:
    """Weights (out, taps) and bias (out) on their grids.

    A bias is the weight of an input that is always ``1 << bias_shift``. What is compensated is the
    error itself, not its deviation from the mean: there is nothing after it that could take a mean.
    """
    arithmetic, formats = layer.arithmetic, layer.param_formats
    assert isinstance(arithmetic, Accumulate)
    one = 2.0**arithmetic.bias_shift
    columns = [formats["bias"], *[formats["weights"]] * weights.shape[1]]
    scale = np.array([2.0**fmt.frac_bits for fmt in columns])
    low, high = (np.array([getattr(fmt, end) for fmt in columns]) for end in ("lowest", "highest"))
    products = Products.of(inputs.rows, one)
    both = products.damped(DAMPING)
    order = np.concatenate([[0], 1 + np.argsort(-np.diag(both)[1:], kind="stable")])
    wanted = np.concatenate([bias[:, None], weights], axis=1) * scale
    if len(inputs.missing):
        wanted = wanted + _made_up(weights * scale[1:], inputs, products)
    rounded = round_compensated(wanted, both, low, high, order) / scale
    return rounded[:, 1:], rounded[:, 0]


def _made_up(weights: Array, inputs: Inputs, products: Products) -> Array:
    """What to add to bias and weights, in their steps, for what the inputs lack: least squares.

    Source: Li et al. 2025, "GPTAQ", here with a ridge, because few rows would be fitted too well.
    """
    count = len(inputs.rows)
    with_inputs = (inputs.missing.T @ inputs.rows).astype(np.float64) / count
    with_bias = products.one * inputs.missing.mean(axis=0, dtype=np.float64)
    lacking = weights @ np.concatenate([with_bias[:, None], with_inputs], axis=1)
    try:
        added: Array = np.linalg.solve(products.damped(RIDGE), lacking.T).T
    except np.linalg.LinAlgError:
        # Inputs that never change: nothing follows from them.
        return np.zeros_like(lacking)
    return added


def input_rows(node: Node, x: Array) -> Array:
    """What the outputs of each part see: (parts, rows, taps), integers in float32.

    About :data:`MAX_ROWS`, as many of each sample, at positions drawn by a fixed seed: those at
    equal distances would all lie in the same columns of some image.
    """
    generator = np.random.default_rng(0)
    found = []
    for start in range(0, len(x), SAMPLES_AT_ONCE):
        some = x[start : start + SAMPLES_AT_ONCE]
        rows = _ROWS[type(node.op)](node, some)
        count = min(-(-MAX_ROWS * len(some) // len(x)), rows.shape[1])
        found.append(rows[:, np.sort(generator.permutation(rows.shape[1])[:count]), :])
    return np.concatenate(found, axis=1)


def _dense_rows(node: Node, x: Array) -> Array:
    return x.reshape(1, -1, x.shape[-1])


def _conv_rows(node: Node, x: Array) -> Array:
    op = node.op
    assert isinstance(op, Conv2D)
    kernel = node.params["weights"].shape[1:3]
    columns = patches(pad_image(x, op.padding), kernel, op.strides, op.dilation)
    return columns.reshape(1, -1, columns.shape[-1])


def _depthwise_rows(node: Node, x: Array) -> Array:
    op = node.op
    assert isinstance(op, DepthwiseConv2D)
    weights = node.params["weights"]
    padded = np.repeat(pad_image(x, op.padding), weights.shape[2] // x.shape[3], axis=3)
    views = taps(padded, weights.shape[:2], op.strides, op.dilation)
    rows = np.stack([view.reshape(-1, view.shape[-1]) for view in views], axis=-1)
    return rows.transpose(1, 0, 2)


_ROWS: dict[type[Op], Callable[[Node, Array], Array]] = {
    Conv2D: _conv_rows,
    DepthwiseConv2D: _depthwise_rows,
    Dense: _dense_rows,
}
