"""Which layers lose most: one at a time in the integers of the network, all others in 16 bits.

A layer's noise is what the output gets when only that layer's output and constants have the
formats of the network. Everything else is fine enough not to matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.schemes.formats import Format, PowerOfTwo
from mcu_export.search import Choice, Measured, Meter

FINE_BITS = 16


@dataclass(frozen=True)
class LayerNoise:
    """What one layer, or one input, costs at the output.

    Attributes:
        name: of the layer or graph input.
        error: relative error of the output, see :class:`mcu_export.search.Meter`.
        snr_db: the same as signal to noise ratio in dB; infinite without any error.
    """

    name: str
    error: float
    snr_db: float


def sensitivity(quant: QuantGraph, samples: Mapping[str, Array]) -> list[LayerNoise]:
    """Every input and layer of a power-of-two network with its noise, worst first.

    Args:
        quant: the network; its formats are judged.
        samples: real inputs, (samples, *shape) each.
    """
    meter = Meter(quant.graph, samples)
    fine = _fine(quant)
    base = meter.measure(fine)
    found = [
        _noise(tensor.name, meter, _with_input(fine, quant, tensor.name), base)
        for tensor in quant.graph.inputs
    ]
    for layer in quant.nodes:
        changed = replace(
            fine,
            activations={**fine.activations, layer.name: _power_of_two(layer.format)},
            params={**fine.params, layer.name: _formats(layer.param_formats)},
        )
        found.append(_noise(layer.name, meter, changed, base))
    return sorted(found, key=lambda noise: -noise.error)


def _fine(quant: QuantGraph) -> Choice:
    """Every format with the same range and 16 bits."""
    return Choice(
        {name: _widened(_power_of_two(fmt)) for name, fmt in quant.formats().items()},
        {
            layer.name: {r: _widened(f) for r, f in _formats(layer.param_formats).items()}
            for layer in quant.nodes
        },
    )


def _widened(fmt: PowerOfTwo) -> PowerOfTwo:
    # Activations and constants get two bits of range beyond their own: nothing may saturate.
    return PowerOfTwo(FINE_BITS, fmt.frac_bits + max(FINE_BITS - fmt.bits - 2, 0))


def _formats(formats: Mapping[str, Format]) -> dict[str, PowerOfTwo]:
    return {role: _power_of_two(fmt) for role, fmt in formats.items()}


def _power_of_two(fmt: Format) -> PowerOfTwo:
    assert isinstance(fmt, PowerOfTwo)
    return fmt


def _with_input(fine: Choice, quant: QuantGraph, name: str) -> Choice:
    own = _power_of_two(quant.input_formats[name])
    return replace(fine, activations={**fine.activations, name: own})


def _noise(name: str, meter: Meter, choice: Choice, base: Measured) -> LayerNoise:
    error = meter.measure(choice, base).error
    return LayerNoise(name, error, -20 * math.log10(error) if error else math.inf)
