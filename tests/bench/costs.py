"""``python -m tests.bench.costs``: what layers of every kind cost on a Cortex-M4, and the estimate.

One network holds layers of every kind in several sizes, side by side. It runs in QEMU in each
scheme, with the first kernel of every layer, then with the next and so on. The costs in the tables
of plain-c were fitted to these figures and to those of the real networks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mcu_export.backends import BACKENDS
from mcu_export.commands.common import print_table
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.lower import lower
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    AveragePool2D,
    Clamp,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Gather,
    Logistic,
    Maximum,
    MaxPool2D,
    Multiply,
    Op,
    Pad,
    Padding,
    Plus,
    PRelu,
    Shape,
    Softmax,
    Subtract,
    Transpose,
    TransposeConv2D,
    elements,
)
from mcu_export.plan import plan
from mcu_export.program import Choices
from mcu_export.verify import verify
from tests.bench.measure import CORES
from tests.cases.networks import Params, conv, depthwise
from tests.cases.test_cases import exported_of, quantized

SCHEMES = ("q7", "q15x7", "q15", "int8", "int16x8", "int4")
ALL = Padding(1, 1, 1, 1)
HALF = Padding(0, 1, 0, 1)  # 3x3 with stride 2 over an even size


@dataclass(frozen=True)
class Layer:
    """An op with the shapes of its inputs and constants."""

    op: Op
    shapes: tuple[Shape, ...]
    params: Params


def _layer(op: Op, shape: Shape, params: Params | None = None, inputs: int = 1) -> Layer:
    return Layer(op, (shape,) * inputs, params or {})


def _dense(rows: int, outputs: int, size: int) -> Layer:
    shape = (size,) if rows == 1 else (rows, size)
    return _layer(Dense(), shape, {"weights": (outputs, size), "bias": (outputs,)})


LAYERS = (
    _layer(Conv2D((1, 1), ALL), (16, 16, 16), conv(16, 3, 3, 16)),
    _layer(Conv2D((1, 1), ALL), (5, 5, 64), conv(32, 3, 3, 64)),
    _layer(Conv2D((2, 2), HALF), (24, 24, 3), conv(8, 3, 3, 3)),
    _layer(Conv2D((1, 1), ALL), (16, 16, 3), conv(16, 3, 3, 3)),
    _layer(Conv2D((2, 2)), (29, 10, 1), conv(64, 10, 4, 1)),
    _layer(Conv2D(limits=RELU), (24, 24, 8), conv(16, 1, 1, 8)),
    _layer(Conv2D(limits=RELU), (12, 12, 32), conv(32, 1, 1, 32)),
    _layer(Conv2D(limits=RELU), (6, 6, 128), conv(64, 1, 1, 128)),
    _layer(Conv2D((2, 2)), (16, 16, 16), conv(32, 1, 1, 16)),
    _layer(DepthwiseConv2D((1, 1), ALL), (48, 48, 8), depthwise(3, 3, 8)),
    _layer(DepthwiseConv2D((1, 1), ALL), (24, 24, 16), depthwise(3, 3, 16)),
    _layer(DepthwiseConv2D((1, 1), ALL), (12, 12, 32), depthwise(3, 3, 32)),
    _layer(DepthwiseConv2D((1, 1), ALL), (25, 5, 32), depthwise(3, 3, 32)),
    _layer(DepthwiseConv2D((2, 2), HALF), (48, 48, 8), depthwise(3, 3, 8)),
    _layer(DepthwiseConv2D((2, 2), HALF), (12, 12, 32), depthwise(3, 3, 32)),
    _layer(DepthwiseConv2D((1, 1), Padding(2, 2, 2, 2)), (12, 12, 16), depthwise(5, 5, 16)),
    _dense(1, 128, 128),
    _dense(1, 64, 640),
    _dense(1, 12, 256),
    _dense(8, 16, 32),
    _layer(TransposeConv2D((12, 12), (2, 2), HALF), (6, 6, 16), conv(16, 3, 3, 16)),
    _layer(AveragePool2D((8, 8), (1, 1)), (8, 8, 64)),
    _layer(AveragePool2D((2, 2), (2, 2)), (24, 24, 16)),
    _layer(MaxPool2D((2, 2), (2, 2)), (24, 24, 16)),
    _layer(MaxPool2D((3, 3), (2, 2), HALF), (24, 24, 16)),
    _layer(Add(RELU), (24, 24, 16), inputs=2),
    _layer(Plus(), (24, 24, 16), {"operand": (16,)}),
    _layer(Subtract(), (24, 24, 16), inputs=2),
    _layer(Multiply(), (24, 24, 16), inputs=2),
    _layer(Maximum(), (24, 24, 16), inputs=2),
    _layer(Clamp(RELU6), (24, 24, 16)),
    _layer(PRelu(), (24, 24, 16), {"alpha": (16,)}),
    _layer(Pad(ALL), (24, 24, 16)),
    _layer(Softmax(), (32, 12)),
    _layer(Softmax(), (1, 100)),
    _layer(Logistic(), (24, 24, 16)),
    _layer(Concatenate(2), (24, 24, 16), inputs=2),
    _layer(Gather((tuple(range(24)), tuple(range(24)), tuple(range(0, 16, 2)))), (24, 24, 16)),
    _layer(Transpose((2, 0, 1)), (24, 24, 16)),
)


@dataclass(frozen=True)
class Spent:
    """A layer with what it was estimated to cost and what it costs, in instructions."""

    scheme: str
    kernel: str
    op: str
    inputs: int
    outputs: int
    macs: int
    estimated: int
    measured: int


def network_of(layers: Iterable[Layer]) -> Graph:
    """The layers side by side: those that read the same shapes share their inputs."""
    builder, generator = GraphBuilder("costs"), np.random.default_rng(0)
    made: dict[tuple[Shape, int], str] = {}
    outputs = []
    for layer in layers:
        for index, shape in enumerate(layer.shapes):
            if (shape, index) not in made:
                made[shape, index] = builder.input(f"in{len(made)}", shape)
        names = [made[shape, index] for index, shape in enumerate(layer.shapes)]
        drawn = {key: generator.standard_normal(size) for key, size in layer.params.items()}
        outputs.append(builder.add("layer", layer.op, names, drawn))
    return builder.finish(outputs, {})


def measure(graph: Graph, scheme: str, slower: int, optimize: str = "speed") -> Iterator[Spent]:
    """What each layer costs that has code, with the kernel ``slower`` rows further down.

    Raises:
        ValueError: the C does not give the integers of the reference.
    """
    quant = quantized(graph, scheme)
    choices = Choices(optimize, {node.name: slower for node in quant.nodes})
    program = lower(quant, BACKENDS["plain-c"], "net", (), choices)
    with tempfile.TemporaryDirectory() as folder:
        exported = exported_of(quant, program, plan(program), Path(folder))
        inputs = {name: array[:1] for name, array in exported.samples.items()}
        verdict = verify(exported, inputs, CORES["M4"])
    if verdict.mismatches:
        raise ValueError(f"{scheme}: {verdict.first_difference}")
    shapes = graph.shapes()
    for step, count in zip(program.steps, verdict.layer_instructions, strict=True):
        yield Spent(
            step.facts["scheme"],
            step.kernel,
            step.op,
            elements(shapes[step.reads[0]]),
            elements(shapes[step.writes]),
            step.facts["macs"],
            step.instructions,
            count,
        )


def main() -> None:
    """Print every layer in every scheme; ``--json`` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemes", default=",".join(SCHEMES), help="separated by commas")
    parser.add_argument("--kernels", type=int, default=3, help="of each layer, at most")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    graph = network_of(LAYERS)
    made = {
        one: None
        for scheme in given.schemes.split(",")
        for slower in range(given.kernels)
        for one in measure(graph, scheme, slower)
    }
    columns = ["scheme", "kernel", "op", "inputs#", "outputs#", "MACs#", "estimated#", "measured#"]
    print_table("instructions, Cortex-M4", columns, [list(asdict(one).values()) for one in made])
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in made], indent=2) + "\n")


if __name__ == "__main__":
    main()
