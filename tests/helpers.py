"""What several tests need: a builder of graphs, quantized networks, C compilers, exports."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mcu_export.backends import BACKENDS
from mcu_export.calibrate import calibrate
from mcu_export.graph import Graph
from mcu_export.loaders.base import GraphBuilder
from mcu_export.lower import lower
from mcu_export.ops import (
    RELU,
    Add,
    AveragePool2D,
    BatchNorm,
    Clamp,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool2D,
    Padding,
    Reshape,
    Softmax,
    elements,
)
from mcu_export.passes import run_passes
from mcu_export.pipeline import golden_of
from mcu_export.plan import plan
from mcu_export.program import Program
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import choose_formats, quantize
from mcu_export.render import render
from mcu_export.schemes.widths import UNIFORM

ROOT = Path(__file__).resolve().parent.parent
KWS = ROOT / "firmware" / "models" / "kws"
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")

Params = dict[str, np.ndarray]


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights(generator: np.random.Generator, shape: tuple[int, ...], out: int) -> Params:
    """Weights of that shape and a bias of ``out`` elements."""
    return {
        "weights": generator.standard_normal(shape) * 0.3,
        "bias": generator.standard_normal(out) * 0.1,
    }


def statistics(generator: np.random.Generator, channels: int) -> Params:
    """Parameters of a batch norm; some gammas are negative."""
    return {
        "gamma": generator.uniform(0.4, 1.6, channels) * generator.choice([-1, 1, 1], channels),
        "beta": generator.standard_normal(channels),
        "mean": generator.standard_normal(channels),
        "variance": generator.uniform(0.2, 2.0, channels),
    }


def toy(labels: tuple[str, ...] = ("conv/1", "pool", "fc")) -> Graph:
    """A small network with a branch, batch norm, odd sizes; ``labels`` names three layers."""
    r = rng()
    b = GraphBuilder("toy")
    x = b.input("in", (9, 5, 3))
    y = b.add(labels[0], Conv2D((2, 1), Padding(1, 1, 1, 1)), [x], weights(r, (8, 3, 3, 3), 8))
    y = b.add("relu", Clamp(RELU), [y])
    d = b.add("dw", DepthwiseConv2D(padding=Padding(1, 1, 1, 1)), [y], weights(r, (3, 3, 8), 8))
    d = b.add("bn", BatchNorm(1e-3), [d], statistics(r, 8))
    d = b.add("dw2", DepthwiseConv2D(padding=Padding(1, 1, 1, 1)), [d], weights(r, (3, 3, 16), 16))
    d = b.add("pw", Conv2D(), [d], weights(r, (8, 1, 1, 16), 8))
    z = b.add("add", Add(RELU), [y, d])
    z = b.add(labels[1], MaxPool2D((2, 2), (2, 2), Padding(0, 1, 0, 1)), [z])
    z = b.add("average", AveragePool2D((3, 3), (2, 2), Padding(1, 1, 1, 1)), [z])
    z = b.add("flat", Reshape((elements(b.shapes[z]),)), [z])
    z = b.add(labels[2], Dense(), [z], weights(r, (5, b.shapes[z][0]), 5))
    z = b.add("softmax", Softmax(), [z])
    return b.finish([z], {})


def after_passes(graph: Graph) -> Graph:
    *_, (_, result) = run_passes(graph)
    return result


def draw(graph: Graph, count: int = 20, seed: int = 3) -> dict[str, np.ndarray]:
    """Normally distributed samples for each input."""
    r = rng(seed)
    return {t.name: r.standard_normal((count, *t.shape)).astype(np.float32) for t in graph.inputs}


def quantized(
    graph: Graph,
    scheme: str = "q7",
    calibration: str = "mse",
    samples: Mapping[str, np.ndarray] | None = None,
) -> QuantGraph:
    """The network in integers, calibrated on random samples; no passes are run."""
    ranges = calibrate(graph, samples or draw(graph))
    return quantize(graph, scheme, *choose_formats(graph, ranges, UNIFORM[scheme], calibration))


def program_of(quant: QuantGraph, name: str = "net", labels: tuple[str, ...] = ()) -> Program:
    return lower(quant, BACKENDS["plain-c"], name, labels)


def c_files(
    quant: QuantGraph, name: str = "net", labels: tuple[str, ...] = (), title: str = "net.keras"
) -> dict[str, str]:
    """The C files of a network."""
    program = program_of(quant, name, labels)
    golden = golden_of(quant, draw(quant.graph, 2), 2)
    return render(program, plan(program), golden, title).files


def write_texts(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def run(command: Iterable[object], cwd: Path | None = None, **options: object) -> object:
    """A finished process, with its output as text."""
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **options,
    )


def compile_errors(folder: Path, name: str, compiler: tuple[str, ...]) -> str:
    """What a compiler says of ``NAME.c`` and of its test header, warnings as errors."""
    user = folder / f"use_{name}.c"
    user.write_text(
        f'#include "{name}_test.h"\nint main(void) {{ return (int){name}_test.layer_count - 1; }}\n'
    )
    said = ""
    for source in (folder / f"{name}.c", user):
        done = run([*compiler, *STRICT, "-I", folder, "-c", source, "-o", folder / "out.o"])
        said += done.stderr + ("" if done.returncode == 0 else f"code {done.returncode}")
    return said
