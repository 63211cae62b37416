"""int4: weights rounded such that their errors cancel on real inputs, layer by layer.

With 4 bits the nearest integer is far away. As in :mod:`mcu_export.rounding`, weights are rounded
one after the other and each error is made up for by those that follow; then the mean error of each
channel is taken from the bias. A layer keeps what brings its output nearest to that in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcu_export.graph import run_float
from mcu_export.nearest_plane import (
    Products,
    damped,
    diagonals,
    round_compensated,
    usual_damping,
)
from mcu_export.ops import Array
from mcu_export.ops.base import Params
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.reference import quantize_inputs, run_layer
from mcu_export.rounding import missing_bias
from mcu_export.samples import spread
from mcu_export.schemes.affine import assemble
from mcu_export.schemes.affine_arithmetic import Scaled
from mcu_export.schemes.formats import PerChannel
from mcu_export.taps import input_rows, tap_count, weight_parts, whole_weights

SAMPLES = 64
MAX_TAPS = 1024  # of a layer whose weights are learned; the cost grows with the cube
ANY_BOUND = 2**52  # the reference then sums in float64, whatever the weights are


def learn_affine_rounding(quant: QuantGraph, samples: Mapping[str, Array]) -> QuantGraph:
    """The network with learned constants in all layers that have weights of 4 bits.

    At most :data:`SAMPLES` of the samples are used.

    Args:
        quant: an integer network of an affine scheme.
        samples: real inputs, (samples, *shape) each.
    """
    used = spread(len(next(iter(samples.values()))), SAMPLES)
    samples = {name: array[used] for name, array in samples.items()}
    real = run_float(quant.graph, samples)
    values, constants = quantize_inputs(quant, samples), {}
    formats = quant.formats()
    for layer in quant.nodes:
        inputs = [values[name] for name in layer.node.inputs]
        if _has_four_bits(layer) and tap_count(layer.node) <= MAX_TAPS:
            centered = inputs[0] - formats[layer.node.inputs[0]].zero_point
            layer = _learned(layer, inputs, centered, real[layer.name])  # noqa: PLW2901
        values[layer.name] = run_layer(layer, inputs)
        constants[layer.name] = {
            role: (array, layer.param_formats[role]) for role, array in layer.params.items()
        }
    return assemble(quant.graph, quant.scheme, formats, constants)


def _has_four_bits(layer: QuantNode) -> bool:
    fmt = layer.param_formats.get("weights")
    return isinstance(fmt, PerChannel) and fmt.bits == 4


def _learned(layer: QuantNode, inputs: list[Array], centered: Array, real: Array) -> QuantNode:
    """The layer with the constants that give the least squared error."""
    assert isinstance(layer.arithmetic, Scaled)
    layer = replace(layer, arithmetic=replace(layer.arithmetic, bound=ANY_BOUND))
    rounded = replace(layer, params=_compensated(layer, centered))
    tried = [layer, rounded]
    outputs = [run_layer(one, inputs) for one in tried]
    for one, output in list(zip(tried, outputs, strict=True)):
        tried.append(replace(one, params=_corrected(one, output, real)))
        outputs.append(run_layer(tried[-1], inputs))
    errors = [np.square(layer.format.dequantize(output) - real).sum() for output in outputs]
    return tried[int(np.argmin(errors))]


def _compensated(layer: QuantNode, centered: Array) -> Params:
    """Weights rounded one after the other, and the bias that keeps the mean output."""
    node, formats = layer.node, layer.param_formats
    weights = np.asarray(node.params["weights"], np.float64)
    in_steps = replace(node, params={"weights": weights / formats["weights"].along(weights.ndim)})
    rows, most = input_rows(node, [centered.astype(np.float32)]), formats["weights"].highest
    rounded, shift = _round(weight_parts(in_steps), rows, most)
    plain = formats["bias"].quantize(np.asarray(node.params["bias"], np.float64))
    return {
        "weights": whole_weights(node, rounded).astype(np.int64),
        "bias": plain + np.round(shift).astype(np.int64),
    }


def _round(weights: Array, rows: Array, most: int) -> tuple[Array, Array]:
    """Integers for weights (parts, out, taps) in steps, and what the bias of each output lacks.

    From inputs (parts, rows, taps).
    """
    seen = Products.of(rows, one=1.0)
    products = seen.products - seen.mean[:, :, None] * seen.mean[:, None, :]
    damping = usual_damping(rows.shape[2], rows.shape[1])
    products = damped(products, diagonals(products).sum(axis=1), damping)
    limits = np.full(products.shape[-1], most)
    order = np.argsort(-diagonals(products), axis=1, kind="stable")
    rounded = round_compensated(weights, products, -limits, limits, order)
    return rounded, ((weights - rounded) @ seen.mean[:, :, None]).ravel()


def _corrected(layer: QuantNode, output: Array, real: Array) -> Params:
    """The layer's constants with the mean error of each channel taken from its bias."""
    step = layer.param_formats["bias"].along(1)
    shift = missing_bias(layer, [output], [real])
    moved = layer.params["bias"] + np.round(shift / step).astype(np.int64)
    return {"weights": layer.params["weights"], "bias": moved}
