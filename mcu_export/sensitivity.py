"""Which layers lose most: one at a time in the integers of the network, all others in float.

A layer's noise is what the output gets when only that layer's output and constants are rounded to
the formats of the network. This tells where more bits help, whatever the scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.graph import Graph, Node, run_float
from mcu_export.logits import before_softmax
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.schemes.arithmetic import Keep
from mcu_export.schemes.formats import Format


@dataclass(frozen=True)
class LayerNoise:
    """What one layer, or one input, costs at the output.

    Attributes:
        name: of the layer or graph input.
        op: kind of the layer, empty for an input.
        format: of its output, as text.
        error: length of the difference at the outputs relative to the length of the float
            outputs, over all samples; a softmax at the end is left out.
        snr_db: the same as signal to noise ratio in dB; None without any error.
    """

    name: str
    op: str
    format: str
    error: float
    snr_db: float | None


def sensitivity(
    quant: QuantGraph,
    samples: Mapping[str, Array],
    progress: Callable[[int], None] = lambda done: None,
) -> list[LayerNoise]:
    """Every input and every layer that rounds with its noise, worst first.

    Args:
        quant: the network; its formats are judged.
        samples: real inputs, (samples, *shape) each.
        progress: called with the number of samples done.
    """
    graph = quant.graph
    judged = {name: ("", fmt) for name, fmt in quant.input_formats.items()}
    judged |= {layer.name: (layer.node.op.kind, layer.format) for layer in _rounding(quant)}
    noise = dict.fromkeys(judged, 0.0)
    signal, done = 0.0, 0
    for batch in batches(graph, samples):
        real = run_float(graph, {name: np.asarray(a, np.float32) for name, a in batch.items()})
        outputs = tuple(dict.fromkeys(before_softmax(graph, name) for name in graph.outputs))
        signal += sum(_energy(real[name]) for name in outputs)
        for name, stored in _rounded(quant, real):
            changed = _rerun(graph, real, name, stored)
            noise[name] += sum(_energy(real[o] - changed[o]) for o in outputs if o in changed)
        done += len(next(iter(batch.values())))
        progress(done)
    found = [
        _noise(name, kind, fmt.text(), noise[name], signal) for name, (kind, fmt) in judged.items()
    ]
    return sorted(found, key=lambda one: -one.error)


def _rounded(quant: QuantGraph, real: Mapping[str, Array]) -> list[tuple[str, Array]]:
    """Each value of the network when it alone is rounded to what its integers stand for."""
    inputs = [(name, _stored(fmt, real[name])) for name, fmt in quant.input_formats.items()]
    return inputs + [(layer.name, _layer(layer, real)) for layer in _rounding(quant)]


def _rounding(quant: QuantGraph) -> list[QuantNode]:
    """Layers that compute something; the others move values or compare them, in their format.

    A softmax at the end is no layer to judge, as outputs are compared before it.
    """
    ends = {name for name in quant.graph.outputs if before_softmax(quant.graph, name) != name}
    return [n for n in quant.nodes if not isinstance(n.arithmetic, Keep) and n.name not in ends]


def _layer(layer: QuantNode, real: Mapping[str, Array]) -> Array:
    """Output of one layer with rounded constants, rounded."""
    params = {
        role: layer.param_formats[role].dequantize(layer.params[role]).astype(np.float32)
        if role in layer.param_formats
        else np.asarray(array, np.float32)
        for role, array in layer.node.params.items()
    }
    out = layer.node.op.compute([real[name] for name in layer.node.inputs], params)
    return _stored(layer.format, out)


def _stored(fmt: Format, x: Array) -> Array:
    """What the integers of ``x`` stand for."""
    stored: Array = fmt.dequantize(fmt.quantize(x)).astype(np.float32)
    return stored


def _rerun(graph: Graph, real: Mapping[str, Array], name: str, value: Array) -> dict[str, Array]:
    """The values that change when ``name`` has another value."""
    changed = {name: value}
    for node in graph.nodes:
        if node.name != name and any(source in changed for source in node.inputs):
            changed[node.name] = _float(node, real, changed)
    return changed


def _float(node: Node, real: Mapping[str, Array], changed: Mapping[str, Array]) -> Array:
    inputs = [changed.get(source, real[source]) for source in node.inputs]
    return node.op.compute(inputs, {k: np.asarray(a, np.float32) for k, a in node.params.items()})


def _energy(x: Array) -> float:
    return float(np.square(np.asarray(x, np.float64)).sum())


def _noise(name: str, op: str, fmt: str, noise: float, signal: float) -> LayerNoise:
    error = math.sqrt(noise / signal) if signal else 0.0
    return LayerNoise(name, op, fmt, error, -20 * math.log10(error) if error else None)
