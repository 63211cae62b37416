"""Stage 4: float network and observed ranges become integers, formats and shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mcu_export.calibrate import Observed, Ranges
from mcu_export.errors import UnsupportedLayerError, UsageError
from mcu_export.graph import Graph, Node
from mcu_export.ops.base import Array, Params
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.range_methods import kl_limit, percentile_limit
from mcu_export.schemes.affine_formats import AFFINE_SCHEMES, quantize_affine
from mcu_export.schemes.arithmetic import Accumulate, Average, Sum
from mcu_export.schemes.element_arithmetic import Combine, Product
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.power_of_two import MAKERS, Value, frac_bits_for
from mcu_export.schemes.power_of_two_elements import ELEMENT_MAKERS
from mcu_export.schemes.widths import MIXED, UNIFORM, Widths

ABOUT_SCHEMES = {
    "q7": "8 bits, every scale a power of two",
    "q15": "16 bits, every scale a power of two",
    "q15x7": "16-bit activations and 8-bit weights, every scale a power of two",
    "mixed": "q7 or q15 for each layer, weights and activations apart, by the output's error",
    "int8": "8 bits after the TensorFlow Lite specification, weights per channel",
    "int4": "int8 with 4-bit weights in conv, depthwise and dense layers",
    "int16x8": "int8 with 16-bit activations and 64-bit accumulators",
}
# Frac bits above those of min-max that the least-squares search tries: each saturates more of
# the tail and halves the step.
EXTRA_FRAC_BITS = 6
# Arithmetic that ends with a saturation, to whatever limits.
LIMITED = (Accumulate, Sum, Average, Combine, Product)

NO_VALUES: Mapping[str, Params] = {}
NO_USED_BITS: Mapping[str, int] = {}

ChooseActivation = Callable[[Observed, int], int]
ChooseWeights = Callable[[Array, int], int]


def minmax_activation(seen: Observed, bits: int) -> int:
    """Frac bits with which no observed value saturates."""
    return frac_bits_for(seen.largest, bits)


def mse_activation(seen: Observed, bits: int) -> int:
    """Frac bits with the least squared error over the observed histogram.

    Inside the range the error is the uniform rounding error ``step**2 / 12``, outside it is the
    distance to the limit; zeros have none.
    """
    first = minmax_activation(seen, bits)
    centers = seen.centers()
    errors = []
    for frac_bits in range(first, first + EXTRA_FRAC_BITS + 1):
        fmt = PowerOfTwo(bits, frac_bits)
        step = 2.0**-frac_bits
        beyond = np.maximum(centers - fmt.highest * step, 0) + np.maximum(
            fmt.lowest * step - centers, 0
        )
        cost = np.where(beyond > 0, beyond**2, step**2 / 12)
        errors.append(float((seen.counts * cost).sum()))
    return first + int(np.argmin(errors))


def minmax_weights(weights: Array, bits: int) -> int:
    """Frac bits with which no weight saturates."""
    return frac_bits_for(float(np.max(np.abs(weights), initial=0.0)), bits)


def mse_weights(weights: Array, bits: int) -> int:
    """Frac bits with the least squared error of the weights."""
    first = minmax_weights(weights, bits)
    errors = []
    for frac_bits in range(first, first + EXTRA_FRAC_BITS + 1):
        fmt = PowerOfTwo(bits, frac_bits)
        errors.append(rounding_power(weights, fmt))
    return first + int(np.argmin(errors))


def rounding_power(weights: Array, fmt: PowerOfTwo) -> float:
    """Sum of the squared errors of weights stored in a format."""
    return float(np.square(fmt.dequantize(fmt.quantize(weights)) - weights).sum())


def percentile_activation(seen: Observed, bits: int) -> int:
    """Frac bits with which one value in 10,000 may saturate."""
    return frac_bits_for(percentile_limit(seen), bits)


def kl_activation(seen: Observed, bits: int) -> int:
    """Frac bits with the least KL divergence between observed and quantized histogram."""
    first = minmax_activation(seen, bits)
    limits = [2.0 ** (bits - 1 - first - extra) for extra in range(EXTRA_FRAC_BITS + 1)]
    return first + limits.index(kl_limit(seen, bits, limits))


# --calibration: how frac bits follow from activations and from constants.
CALIBRATIONS: dict[str, tuple[ChooseActivation, ChooseWeights]] = {
    "mse": (mse_activation, mse_weights),
    "minmax": (minmax_activation, minmax_weights),
    "percentile": (percentile_activation, mse_weights),
    "kl": (kl_activation, mse_weights),
}


def quantize_network(graph: Graph, ranges: Ranges, scheme: str, calibration: str) -> QuantGraph:
    """The integer network of a float one, in any scheme.

    Args:
        graph: the float network after the passes.
        ranges: what every value was observed to do.
        scheme: one of :data:`ABOUT_SCHEMES`.
        calibration: one of :data:`CALIBRATIONS`.

    Raises:
        UnsupportedLayerError: a layer that the scheme has no arithmetic for.
        UsageError: the widths of a mixed network do not follow from single tensors.
    """
    if scheme in AFFINE_SCHEMES:
        return quantize_affine(graph, ranges, scheme, calibration)
    if scheme == MIXED:
        raise UsageError(
            "the widths of layers are chosen by what they do to the output",
            where=f"--scheme {MIXED} --calibration {calibration}",
            fix="use --calibration output",
        )
    return quantize(graph, scheme, *choose_formats(graph, ranges, UNIFORM[scheme], calibration))


def choose_formats(
    graph: Graph, ranges: Ranges, widths: Widths, calibration: str
) -> tuple[dict[str, PowerOfTwo], dict[str, dict[str, PowerOfTwo]]]:
    """Wanted format of every value, and of every constant of every node."""
    for_activation, for_weights = CALIBRATIONS[calibration]
    activations, params = {}, {}
    for name, seen in ranges.items():
        bits = widths.activation(name)
        activations[name] = PowerOfTwo(bits, for_activation(seen, bits))
    for node in graph.nodes:
        params[node.name] = {
            role: PowerOfTwo(bits, for_weights(np.asarray(array, np.float64), bits))
            for role, array in node.params.items()
            for bits in (widths.of(node, role),)
        }
    return activations, params


def quantize(
    graph: Graph,
    scheme: str,
    activations: Mapping[str, PowerOfTwo],
    params: Mapping[str, Mapping[str, PowerOfTwo]],
    values: Mapping[str, Params] = NO_VALUES,
    used_bits: Mapping[str, int] = NO_USED_BITS,
) -> QuantGraph:
    """Integers, final formats and shifts, in topological order.

    Args:
        graph: the float network after the passes.
        scheme: one of :data:`mcu_export.schemes.widths.POWER_OF_TWO`; what the network is called.
        activations: wanted format of each value; a layer may have to give frac bits away.
        params: wanted format of each constant of each node.
        values: for some nodes, constants to quantize instead of the node's own: reals that
            rounding was learned for. On the grid of their format they become just these integers.
        used_bits: for some values, bits that their integers need, sign included: they saturate
            there and not at the limits of their type, which layers that read them rely on.

    Raises:
        UnsupportedLayerError: an op that the scheme has no arithmetic for.
    """
    known: dict[str, Value] = {}
    for tensor in graph.inputs:
        fmt = activations[tensor.name]
        known[tensor.name] = Value(fmt, fmt.lowest, fmt.highest)
    nodes = []
    for node in graph.nodes:
        inputs = [known[name] for name in node.inputs]
        wanted, given = activations[node.name], values.get(node.name)
        used = used_bits.get(node.name)
        made = quantize_layer(node, inputs, wanted, params[node.name], given, used)
        known[node.name] = Value(made.format, made.arithmetic.low, made.arithmetic.high)
        nodes.append(made)
    formats = {tensor.name: activations[tensor.name] for tensor in graph.inputs}
    return QuantGraph(graph, scheme, formats, tuple(nodes))


def used_bits_of(quant: QuantGraph) -> dict[str, int]:
    """For each value that may use fewer bits than its type, those that its limits need.

    :func:`quantize` with them gives the same limits again.
    """
    limits = {
        layer.name: (int(layer.arithmetic.low), int(layer.arithmetic.high))
        for layer in quant.nodes
        if isinstance(layer.arithmetic, LIMITED)
    }
    return {
        name: 1 + max((end if end >= 0 else ~end).bit_length() for end in ends)
        for name, ends in limits.items()
    }


def quantize_layer(
    node: Node,
    inputs: list[Value],
    wanted: PowerOfTwo,
    params: Mapping[str, PowerOfTwo],
    values: Params | None = None,
    used_bits: int | None = None,
) -> QuantNode:
    """One layer in integers, from what is known of its inputs; arguments as :func:`quantize`."""
    maker = MAKERS.get(type(node.op)) or ELEMENT_MAKERS.get(type(node.op))
    if maker is None:
        raise UnsupportedLayerError(
            f"the power-of-two schemes have no integer arithmetic for {node.op.kind}",
            where=f"layer {node.name!r}",
            fix="see `mcu-export list ops` for what they run",
        )
    given = node if values is None else replace(node, params={**node.params, **values})
    made = maker(given, inputs, wanted, params)
    if used_bits is not None and isinstance(made.arithmetic, LIMITED):
        top = 1 << (used_bits - 1)
        low, high = made.arithmetic.low, made.arithmetic.high
        low, high = min(max(low, -top), top - 1), max(min(high, top - 1), -top)
        made = replace(made, arithmetic=replace(made.arithmetic, low=low, high=high))
    return replace(made, node=node)
