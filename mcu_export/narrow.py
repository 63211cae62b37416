"""Activations that use fewer bits than they have, so that weights may use more.

A sum of products must fit 32 bits. With 16-bit activations that leaves 16 bits for the sum of the
weights' magnitudes: over thousands of taps a weight has 8 bits left of its 16. An activation that
saturates 3 bits below the limits of its type, with a step 8 times as large, has the same range and
leaves 3 bits more to each weight that it meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mcu_export.quantize import LIMITED
from mcu_export.schemes.arithmetic import Keep
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.search import Choice, Measured, Meter


def narrow(meter: Meter, start: Measured) -> Measured:
    """Fewer bits for each activation whose readers have to lower the frac bits of their weights.

    A bit is taken, and one that was taken before given back, as long as the error of the output
    falls; never worse than ``start``.
    """
    best = start
    for name in dict.fromkeys([*_squeezers(start), *start.choice.used_bits]):
        for bits in (-1, 1):
            best = _follow(meter, best, name, bits)
    return best


def _follow(meter: Meter, best: Measured, name: str, bits: int) -> Measured:
    """As many bits of one value taken or given back as lower the error."""
    while True:
        choice = _with_bits(best, name, bits)
        if choice.used_bits[name] > choice.activations[name].bits:
            return best
        tried = meter.measure(choice, best)
        if tried.error >= best.error:
            return best
        best = tried


def _squeezers(measured: Measured) -> Iterator[str]:
    """Layers whose output makes the accumulator of a reader too wide for its weights."""
    layers = measured.layers
    for name, layer in layers.items():
        wanted = measured.choice.params[name].get("weights")
        if wanted is None or layer.param_formats["weights"].frac_bits >= wanted.frac_bits:
            continue
        source = layers.get(layer.node.inputs[0])
        while source is not None and isinstance(source.arithmetic, Keep):
            source = layers.get(source.node.inputs[0])
        if source is not None and isinstance(source.arithmetic, LIMITED):
            yield source.name


def _with_bits(measured: Measured, name: str, bits: int) -> Choice:
    """The same real range of a value in so many bits more."""
    choice, fmt = measured.choice, measured.layers[name].format
    assert isinstance(fmt, PowerOfTwo)
    finer = choice.with_activation(name, replace(fmt, frac_bits=fmt.frac_bits + bits))
    used = choice.used_bits.get(name, fmt.bits) + bits
    return replace(finer, used_bits={**choice.used_bits, name: used})
