"""Rounding learned layer by layer: constants whose errors cancel on real inputs.

Rounding each weight to the nearest integer is best for the weights, not for the layer's output.
Two remedies, both from the layer's integer inputs on samples, and both kept only where they lower
the error of the network's output:

* compensated rounding: weights are rounded one after the other, and the error of each is spread
  over those that are still to come, such that the output changes least. Source: Frantar et al.
  2022, "GPTQ", after Hassibi and Stork 1993, "Optimal Brain Surgeon".
* bias correction: the mean error of each channel after the activation is taken from the bias.
  Source: Nagel et al. 2019, "Data-Free Quantization", section 4.2, here measured on samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mcu_export.graph import Node
from mcu_export.ops import Array, Conv2D, Dense, DepthwiseConv2D, Op, Params
from mcu_export.ops.windows import pad_image, patches, taps
from mcu_export.schemes.arithmetic import Accumulate
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.search import Measured, Meter, Ran

MAX_ROWS = 4096
SAMPLES_AT_ONCE = 16
BLOCK = 64
# Added to the diagonal of the inputs' products, relative to its mean: few samples leave directions
# in which nothing was seen, and no error may be hidden there.
DAMPING = 0.01
# A channel that hardly ever lies between its limits cannot be moved by its bias.
MIN_ACTIVE = 0.02


def learn_rounding(
    meter: Meter,
    start: Measured,
    max_taps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    work: float = math.inf,
) -> Measured:
    """Learned constants for each conv, depthwise and dense layer that gains by them.

    Never worse than ``start``.

    Args:
        meter: measures on samples.
        start: what to improve.
        max_taps: layers that sum over more keep their weights: the cost grows with the cube.
        progress: called with layers done and in all.
        work: that may be done, as :func:`mcu_export.search.layer_work` counts it.
    """
    best, end = start, meter.work + work
    nodes = [node for node in meter.graph.nodes if isinstance(node.op, tuple(_ROWS))]
    for index, node in enumerate(nodes):
        if meter.work >= end:
            return best
        few = tap_count(node) <= max_taps
        proposals = (compensated_weights, corrected_bias) if few else (corrected_bias,)
        for propose in proposals:
            values = propose(meter, best, node)
            tried = meter.measure(best.choice.with_values(node.name, values), best)
            if tried.error < best.error:
                best = tried
        progress(index + 1, len(nodes))
    return best


def tap_count(node: Node) -> int:
    """Over how many products one output of a conv, depthwise or dense layer sums."""
    shape = node.params["weights"].shape
    return int(np.prod(shape[:2] if isinstance(node.op, DepthwiseConv2D) else shape[1:]))


def corrected_bias(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's constants with the mean error of each channel taken from its bias.

    A bias moves only outputs that lie between the limits, so the error is divided by their share.
    """
    run, constants = now.layers[node.name], _constants(now, node)
    channels = node.shape[-1]
    error = meter.real[node.name] - run.layer.format.dequantize(run.output)
    arithmetic = run.layer.arithmetic
    between = (run.output > arithmetic.low) & (run.output < arithmetic.high)
    share = between.reshape(-1, channels).mean(axis=0)
    mean = error.reshape(-1, channels).mean(axis=0)
    shift = np.where(share >= MIN_ACTIVE, mean / np.maximum(share, MIN_ACTIVE), 0.0)
    return {"weights": constants["weights"], "bias": np.asarray(constants["bias"]) + shift}


def compensated_weights(meter: Meter, now: Measured, node: Node) -> Params:
    """The layer's weights rounded one after the other, and the bias that keeps the mean output."""
    run = now.layers[node.name]
    weights = np.asarray(node.params["weights"], np.float64)
    fmt, step = run.layer.param_formats["weights"], _input_step(run)
    rows = _input_rows(node, run)
    learned = np.empty_like(weights)
    bias = np.array(node.params["bias"], np.float64)
    if isinstance(node.op, DepthwiseConv2D):
        before, after = weights.reshape(-1, len(bias)), learned.reshape(-1, len(bias))
        for channel, inputs in enumerate(rows):
            part = before[:, channel : channel + 1].T
            rounded, shift = _compensate(part, inputs, fmt)
            after[:, channel] = rounded[0]
            bias[channel] += shift[0] * step
    else:
        rounded, shift = _compensate(weights.reshape(len(bias), -1), rows, fmt)
        learned[...] = rounded.reshape(weights.shape)
        bias += shift * step
    return {"weights": learned, "bias": bias}


def _constants(now: Measured, node: Node) -> Params:
    return now.choice.values.get(node.name, node.params)


def _input_step(run: Ran) -> float:
    """The real value of 1 in the integer input of a layer that accumulates."""
    a, formats = run.layer.arithmetic, run.layer.param_formats
    assert isinstance(a, Accumulate)
    total = formats["bias"].frac_bits + a.bias_shift
    return float(2.0 ** (formats["weights"].frac_bits - total))


def _compensate(weights: Array, inputs: Array, fmt: PowerOfTwo) -> tuple[Array, Array]:
    """Weights (out, taps) on the grid of ``fmt`` for ``inputs`` (rows, taps), and bias shifts.

    Inputs are integers, and shifts are in units of their step.
    """
    mean = inputs.mean(axis=0, dtype=np.float64)
    products = (inputs.T @ inputs).astype(np.float64) / len(inputs) - np.outer(mean, mean)
    level = float(np.trace(products)) / len(products)
    products += np.eye(len(products)) * (DAMPING * level + 1e-9)
    scale = 2.0**fmt.frac_bits
    rounded = round_compensated(weights * scale, products, fmt.lowest, fmt.highest) / scale
    return rounded, (weights - rounded) @ mean


def _factor(products: Array) -> Array:
    """The upper triangular ``r`` with ``r @ r.T == products``: Cholesky's, from the last tap on.

    Inputs that depend on each other make the matrix singular in all but name. It then gets a ridge,
    ten times as large each time, which spreads errors less.
    """
    eye, ridge = np.eye(len(products)), 0.0
    scale = float(np.trace(products)) / len(products) or 1.0
    while True:
        try:
            factor: Array = np.linalg.cholesky((products + ridge * scale * eye)[::-1, ::-1])
            return factor[::-1, ::-1]
        except np.linalg.LinAlgError:
            if ridge > 1:
                raise
            ridge = 10 * ridge or 1e-8


def round_compensated(weights: Array, products: Array, low: int, high: int) -> Array:
    """Integers near ``weights`` (out, taps) with a small ``error @ products @ error.T``.

    With ``products = r @ r.T`` that is the length of ``error @ r``, whose element k depends on the
    errors of the taps up to k: each tap in turn takes the integer that brings it nearest to zero
    (Babai 1986, "nearest plane"; the same integers as those of GPTQ, without an inverse). Taps with
    the largest products come first: their errors can be spread over the others.

    Args:
        weights: in units of their step.
        products: mean products of the inputs of the taps (taps, taps); positive definite.
        low, high: limits of the integers.
    """
    order = np.argsort(-np.diag(products), kind="stable")
    wanted = weights[:, order]
    factor = _factor(products[np.ix_(order, order)])
    spread = factor / np.diag(factor)
    rounded, errors, before = (np.zeros_like(wanted) for _ in range(3))
    taps_count = wanted.shape[1]
    for start in range(0, taps_count, BLOCK):
        # Within a block an error spreads at once; over all later blocks in one matrix product.
        stop = min(start + BLOCK, taps_count)
        for tap in range(start, stop):
            nearest = np.floor(wanted[:, tap] - before[:, tap] + 0.5)
            rounded[:, tap] = np.clip(nearest, low, high)
            errors[:, tap] = rounded[:, tap] - wanted[:, tap]
            before[:, tap + 1 : stop] += np.outer(errors[:, tap], spread[tap, tap + 1 : stop])
        before[:, stop:] += errors[:, start:stop] @ spread[start:stop, stop:]
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def _input_rows(node: Node, run: Ran) -> Array:
    """What outputs see: (rows, taps), or (channels, rows, taps) for depthwise; float32.

    About :data:`MAX_ROWS`, as many of each sample, at positions drawn by a fixed seed: those at
    equal distances would all lie in the same columns of some image.
    """
    generator, x = np.random.default_rng(0), run.inputs[0]
    parts = []
    for start in range(0, len(x), SAMPLES_AT_ONCE):
        some = x[start : start + SAMPLES_AT_ONCE]
        rows = _ROWS[type(node.op)](node, some)
        count = min(-(-MAX_ROWS * len(some) // len(x)), rows.shape[-2])
        parts.append(rows[..., np.sort(generator.permutation(rows.shape[-2])[:count]), :])
    return np.concatenate(parts, axis=-2)


def _dense_rows(node: Node, x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _conv_rows(node: Node, x: Array) -> Array:
    op = node.op
    assert isinstance(op, Conv2D)
    kernel = node.params["weights"].shape[1:3]
    columns = patches(pad_image(x, op.padding), kernel, op.strides, op.dilation)
    return columns.reshape(-1, columns.shape[-1])


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
