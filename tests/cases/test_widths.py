"""Every op with every combination of 8 and 16 bits: input, constants and output apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mcu_export.build import Target
from mcu_export.calibrate import calibrate
from mcu_export.graph import Graph, Node, Tensor, run_float
from mcu_export.ops import Clamp, Gather, MaxPool2D, Pad, Reshape, Transpose
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize
from mcu_export.reference import quantize_inputs, random_inputs, run_reference
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.schemes.widths import MIXED, Widths, layer_scheme
from mcu_export.verify import verify
from tests.cases.networks import CASES
from tests.cases.test_cases import STEPS, samples_of, step_of, write_c

# Their output has the format of the input: no widths to mix.
KEEPING = (Clamp, Gather, MaxPool2D, Pad, Reshape, Transpose)
# e^x makes up to e^2 of a step of the input, for inputs up to 2.
STEEP = {"exponential": 8}
NAMES = [
    name for name, make in CASES.items() if not isinstance(make().nodes[0].op, KEEPING)
]  # fmt: skip


def every_width(graph: Graph) -> tuple[Graph, Widths]:
    """The layer of ``graph`` once for each combination of widths, side by side.

    With two inputs, the widths of the second are the others.
    """
    (layer,) = graph.nodes
    inputs: list[Tensor] = []
    nodes: list[Node] = []
    of_values, of_layers = {}, {}
    constants = (8, 16) if layer.params else (8,)
    for index, (read, constant, written) in enumerate(product((8, 16), constants, (8, 16))):
        mine = [replace(tensor, name=f"{tensor.name}_{index}") for tensor in graph.inputs]
        nodes.append(
            replace(layer, name=f"layer_{index}", inputs=tuple(tensor.name for tensor in mine))
        )
        inputs += mine
        for place, tensor in enumerate(mine):
            of_values[tensor.name] = read if place % 2 == 0 else 24 - read
        of_values[nodes[-1].name], of_layers[nodes[-1].name] = written, constant
    names = tuple(node.name for node in nodes)
    made = replace(graph, inputs=tuple(inputs), nodes=tuple(nodes), outputs=names)
    return made, Widths(8, 8, of_values, of_layers)


def mixed(graph: Graph, widths: Widths) -> QuantGraph:
    """The network in integers of these widths."""
    ranges = calibrate(graph, samples_of(graph))
    return quantize(graph, MIXED, *choose_formats(graph, ranges, widths, "minmax"))


@pytest.mark.parametrize("name", NAMES)
def test_c_gives_the_integers_of_every_width(name: str, tmp_path: Path) -> None:
    quant = mixed(*every_width(CASES[name]()))
    exported = write_c(quant, "plain-c", tmp_path)
    verdict = verify(exported, random_inputs(quant, 8), Target(sanitize=True, optimize="-O1"))
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    assert verdict.outputs_compared > 0


@pytest.mark.parametrize("name", NAMES)
def test_integers_of_every_width_are_near_float(name: str) -> None:
    graph, widths = every_width(CASES[name]())
    quant, samples = mixed(graph, widths), samples_of(graph)
    got = run_reference(quant, quantize_inputs(quant, samples))
    expected = run_float(graph, samples)
    formats = quant.formats()
    for node in quant.nodes:
        used = [formats[value] for value in (*node.node.inputs, node.name)]
        steps = (STEPS | STEEP).get(name.split("_", maxsplit=1)[0], 4)
        allowed = steps * max(
            step_of(fmt, fmt.bits) for fmt in (*used, *node.param_formats.values())
        )
        real = node.format.dequantize(got[node.name])
        limits = node.format.dequantize(np.array([node.format.lowest, node.format.highest]))
        assert np.abs(real - np.clip(expected[node.name], *limits)).max() < allowed, node.name
        assert node.format.bits == widths.activation(node.name)


@pytest.mark.parametrize(
    ("name", "read", "constants", "bias"),
    [
        ("conv_3x3", 8, 8, 8),
        ("conv_3x3", 16, 8, 16),
        ("conv_3x3", 8, 16, 16),
        ("depthwise_3x3", 16, 8, 16),
        ("dense", 16, 8, 8),
        ("dense", 16, 16, 16),
    ],
)
def test_a_bias_beside_16_bit_inputs_has_16_bits(
    name: str, read: int, constants: int, bias: int
) -> None:
    graph = CASES[name]()
    (layer,) = mixed(graph, Widths(read, constants)).nodes
    assert {role: fmt.bits for role, fmt in layer.param_formats.items()} == {
        "weights": constants,
        "bias": bias,
    }


def test_the_scheme_of_a_layer_follows_from_its_widths() -> None:
    def scheme(inputs: int, weights: int, bias: int, output: int) -> str:
        constants = {"weights": PowerOfTwo(weights, 0), "bias": PowerOfTwo(bias, 0)}
        return layer_scheme(MIXED, [PowerOfTwo(inputs, 0)], constants, PowerOfTwo(output, 0))

    assert scheme(8, 8, 8, 8) == "q7"
    assert scheme(16, 16, 16, 16) == "q15"
    assert scheme(16, 8, 8, 16) == scheme(16, 8, 16, 16) == "q15x7"
    assert scheme(16, 8, 16, 8) == scheme(8, 8, 16, 8) == scheme(8, 16, 16, 8) == MIXED
