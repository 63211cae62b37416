"""``python -m tests.bench.exact``: quantized .tflite files, integer by integer.

Every integer of every layer is compared, for many inputs: our reference with TensorFlow's
interpreter on its reference kernels, and generated C with our reference, on the host and in QEMU.
The interpreter rounds some layers otherwise than TensorFlow Lite Micro, as which a network is
exported, so the first comparison repeats the interpreter's rounding.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcu_export.api import Sources, export_files
from mcu_export.build import Target
from mcu_export.errors import McuExportError
from mcu_export.exported import open_export
from mcu_export.loaders import load_network
from mcu_export.loaders.tflite.network import like_interpreter
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import run_reference
from mcu_export.verify import verify
from tests.bench.accuracy import DATA
from tests.loaders.tflite_edit import edited, with_axes_that_exist
from tests.loaders.tflite_networks import interpret

BATCH = 250
TARGETS = {
    "host": Target(),
    "M4": Target("mps2-an386"),
    "M55": Target("mps3-an547"),
}


@dataclass(frozen=True)
class Count:
    """Integers compared, and how many of them differ."""

    compared: int = 0
    different: int = 0

    def plus(self, compared: int, different: int) -> Count:
        return Count(self.compared + compared, self.different + different)


def files(data: Path) -> list[Path]:
    """The quantized networks among the files of a folder."""
    paths = sorted(data.rglob("*.tflite"))
    return [path for path in paths if isinstance(load_network(path), QuantGraph)]


def drawn_inputs(quant: QuantGraph, count: int) -> dict[str, Array]:
    """Integers around the zero point, from a spread of one step to the whole range."""
    random = np.random.default_rng(7)
    spreads = 2.0 ** random.uniform(0, 8, count)
    made = {}
    for tensor in quant.graph.inputs:
        fmt = quant.input_formats[tensor.name]
        wide = random.standard_normal((count, *tensor.shape))
        scaled = wide * spreads.reshape(-1, *(1 for _ in tensor.shape)) + fmt.zero_point
        made[tensor.name] = np.clip(np.round(scaled), fmt.lowest, fmt.highest).astype(np.int64)
    return made


def _batches(inputs: dict[str, Array]) -> Iterator[dict[str, Array]]:
    for start in range(0, len(next(iter(inputs.values()))), BATCH):
        yield {name: array[start : start + BATCH] for name, array in inputs.items()}


def with_interpreter(path: Path, count: int) -> Count:
    """Our reference beside the interpreter."""
    loaded = load_network(path)
    assert isinstance(loaded, QuantGraph)
    quant, found = like_interpreter(loaded), Count()
    content = edited(path.read_bytes(), with_axes_that_exist)
    for inputs in _batches(drawn_inputs(quant, count)):
        (given,) = inputs.values()
        expected, values = interpret(content, given), run_reference(quant, inputs)
        for name in set(values) & set(expected) - set(inputs):
            theirs = expected[name].reshape(len(given), -1)
            ours = values[name].reshape(theirs.shape)
            found = found.plus(ours.size, int((ours != theirs).sum()))
    return found


def in_c(
    path: Path, count: int, target: Target, backend: str = "plain-c", optimize: str = "speed"
) -> Count:
    """Generated C beside our reference."""
    options = {"name": "net", "backend": backend, "optimize": optimize}
    found = Count()
    with tempfile.TemporaryDirectory() as folder:
        export_files(Sources(path), Path(folder), options)
        exported = open_export(Path(folder))
        for inputs in _batches(drawn_inputs(exported.quant, count)):
            verdict = verify(exported, inputs, target)
            found = found.plus(verdict.outputs_compared, verdict.mismatches)
    return found


def _cell(run: object, *arguments: object) -> str:
    begun = time.perf_counter()
    try:
        found = run(*arguments)  # type: ignore[operator]
    except (McuExportError, RuntimeError, ValueError) as error:
        return f"does not run: {str(error).splitlines()[0]}"
    return f"{found.different} of {found.compared:,} ({time.perf_counter() - begun:.0f} s)"


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="of each file")
    parser.add_argument("--files", default="", help="parts of their names, separated by commas")
    parser.add_argument("--targets", default="host,M4", help="of " + ", ".join(TARGETS))
    parser.add_argument("--backend", default="plain-c")
    parser.add_argument("--optimize", default="speed")
    given = parser.parse_args()
    targets = given.targets.split(",")
    print("| integers that differ | interpreter | " + " | ".join(targets) + " |")
    print("|---" * (len(targets) + 2) + "|")
    for path in files(DATA):
        if not any(part in path.name for part in given.files.split(",")):
            continue
        cells = [_cell(with_interpreter, path, given.inputs)]
        how = (given.backend, given.optimize)
        cells += [_cell(in_c, path, given.inputs, TARGETS[t], *how) for t in targets]
        print(f"| {path.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
