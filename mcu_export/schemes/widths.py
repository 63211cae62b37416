"""How many bits the numbers of a power-of-two network have: the same everywhere, or each its own.

A width is a property of a format, so layers of different widths live in one network. A layer reads
the widths of its inputs and writes that of its output: no tensor is ever converted by a step of its
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mcu_export.graph import Graph, Node
from mcu_export.ops import Dense
from mcu_export.schemes.formats import Format

NO_WIDTHS: Mapping[str, int] = MappingProxyType({})
MIXED = "mixed"
INT4 = "int4"
BIAS = "bias"


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
        """Bits of the constants of a layer; of its bias see :func:`bias_bits`."""
        return self.of_layers.get(layer, self.constants)

    def of(self, node: Node, role: str) -> int:
        """Bits of one constant of a layer."""
        bits = self.constant(node.name)
        return bits if role != BIAS else bias_bits(node, bits, self.activation(node.inputs[0]))

    def narrow_layers(self, graph: Graph) -> frozenset[str]:
        """Layers whose weights have fewer bits than what they meet."""
        return frozenset(
            node.name
            for node in graph.nodes
            if "weights" in node.params
            and self.constant(node.name) < self.activation(node.inputs[0])
        )


def bias_bits(node: Node, weights: int, inputs: int) -> int:
    """Bits of the bias of a layer whose weights and inputs have so many.

    8 bits are the coarsest of all that a layer with 16-bit activations adds up, and a bias is small
    beside the weights: there it has 16. That of a dense layer stays as wide as the weights, because
    CMSIS has kernels for such (``arm_fully_connected_mat_q7_vec_q15``) and its error is small.
    """
    return weights if isinstance(node.op, Dense) else max(weights, inputs)


# Schemes with the same widths everywhere. The name of a mix says activations first, as int16x8.
UNIFORM: Mapping[str, Widths] = {
    "q7": Widths(8, 8),
    "q15": Widths(16, 16),
    "q15x7": Widths(16, 8),
}
POWER_OF_TWO = frozenset({*UNIFORM, MIXED})


def layer_scheme(
    scheme: str, inputs: Iterable[Format], constants: Mapping[str, Format], output: Format
) -> str:
    """The scheme of one layer, by which a backend chooses its kernel.

    In a network of power-of-two formats it follows from the widths of the layer alone: ``q7`` and
    ``q15`` where all are alike, ``q15x7`` where only constants have 8 bits (a bias may have 16),
    else ``mixed``. In a network with 4-bit weights it is ``int4`` for the layers that have them,
    else ``int8``. In others it is that of the network.
    """
    if scheme == INT4:
        return INT4 if any(fmt.bits == 4 for fmt in constants.values()) else "int8"
    if scheme not in POWER_OF_TWO:
        return scheme
    activations = {output.bits, *(fmt.bits for fmt in inputs)}
    weights = {fmt.bits for role, fmt in constants.items() if role != BIAS} or activations
    bias = {fmt.bits for role, fmt in constants.items() if role == BIAS}
    for name, widths in UNIFORM.items():
        uniform = activations == {widths.activations} and weights == {widths.constants}
        if uniform and bias <= {widths.activations, widths.constants}:
            return name
    return MIXED
