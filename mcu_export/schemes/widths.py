"""How many bits the numbers of a power-of-two network have: the same everywhere, or each its own.

A width is a property of a format, so layers of different widths live in one network. A layer reads
the widths of its inputs and writes that of its output: no tensor is ever converted by a step of its
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mcu_export.schemes.formats import Format

NO_WIDTHS: Mapping[str, int] = MappingProxyType({})
MIXED = "mixed"
INT4 = "int4"


@dataclass(frozen=True)
class Widths:
    """Bits, 8 or 16, of the activations and of the constants of a network.

    Attributes:
        activations: of every value that has no width of its own.
        constants: of the weights and biases of every layer that has no width of its own.
        of_values: widths of single values, by name.
        of_layers: widths of the constants of single layers, by name.
    """

    activations: int
    constants: int
    of_values: Mapping[str, int] = field(default_factory=lambda: NO_WIDTHS)
    of_layers: Mapping[str, int] = field(default_factory=lambda: NO_WIDTHS)

    def activation(self, name: str) -> int:
        """Bits of a value."""
        return self.of_values.get(name, self.activations)

    def constant(self, layer: str) -> int:
        """Bits of the constants of a layer."""
        return self.of_layers.get(layer, self.constants)


# Schemes with the same widths everywhere. The name of a mix says activations first, as int16x8.
UNIFORM: Mapping[str, Widths] = {
    "q7": Widths(8, 8),
    "q15": Widths(16, 16),
    "q15x7": Widths(16, 8),
}
POWER_OF_TWO = frozenset({*UNIFORM, MIXED})


def layer_scheme(
    scheme: str, inputs: Iterable[Format], constants: Iterable[Format], output: Format
) -> str:
    """The scheme of one layer, by which a backend chooses its kernel.

    In a network of power-of-two formats it follows from the widths of the layer alone: ``q7`` and
    ``q15`` where all are alike, ``q15x7`` where only constants have 8 bits, else ``mixed``. In a
    network with 4-bit weights it is ``int4`` for the layers that have them, else ``int8``. In
    others it is that of the network.
    """
    if scheme == INT4:
        return INT4 if any(fmt.bits == 4 for fmt in constants) else "int8"
    if scheme not in POWER_OF_TWO:
        return scheme
    activations = {output.bits, *(fmt.bits for fmt in inputs)}
    weights = {fmt.bits for fmt in constants} or activations
    for name, widths in UNIFORM.items():
        if activations == {widths.activations} and weights == {widths.constants}:
            return name
    return MIXED
