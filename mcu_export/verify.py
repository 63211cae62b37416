"""Run exported C on samples and compare every byte of every layer with the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.build import Run, Target, compiled_size, pack_inputs, run_stream
from mcu_export.errors import InternalError
from mcu_export.exported import Exported
from mcu_export.ops.base import Array
from mcu_export.reference import quantize_inputs, random_inputs, run_reference
from mcu_export.samples import load_samples, spread

BATCH = 16


@dataclass(frozen=True)
class Difference:
    """The first integer that differs: the earliest sample, in it the earliest layer."""

    sample: int
    layer: str
    op: str
    index: int
    got: int
    expected: int

    def text(self) -> str:
        """One line for a human."""
        return (
            f"sample {self.sample}, layer {self.layer} ({self.op}), index {self.index}: "
            f"got {self.got}, expected {self.expected}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a verification found; its fields are the keys of ``verify --json``."""

    on: str
    board: str
    samples: int
    outputs_compared: int
    mismatches: int
    first_difference: Difference | None
    instructions: int | None
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int | None


def verify(
    exported: Exported,
    inputs: Mapping[str, Array],
    target: Target,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Compile, run and compare.

    Args:
        exported: the export.
        inputs: integers for each input, (samples, *shape).
        target: where to run.
        progress: called with the number of samples compared.

    Raises:
        ToolchainError: it does not compile or run.
    """
    dtypes = {key: fmt.dtype for key, fmt in exported.quant.formats().items()}
    run = run_stream(exported.folder, exported.name, target, pack_inputs(inputs, dtypes))
    size = compiled_size(exported.folder, exported.name, target)
    compared, mismatches, first = compare(exported, inputs, run, progress)
    return Verdict(
        on=target.on,
        board=target.board,
        samples=len(next(iter(inputs.values()))),
        outputs_compared=compared,
        mismatches=mismatches,
        first_difference=first,
        instructions=run.instructions,
        flash_bytes=size.flash,
        ram_bytes=size.ram,
        stack_bytes=run.stack_bytes,
    )


def compare(
    exported: Exported,
    inputs: Mapping[str, Array],
    run: Run,
    progress: Callable[[int], None],
) -> tuple[int, int, Difference | None]:
    """Integers compared, how many differ, and the first that does."""
    count = len(next(iter(inputs.values())))
    trace = np.frombuffer(run.trace, np.uint8).reshape(count, -1)
    nodes = {node.name: node for node in exported.quant.nodes}
    compared = mismatches = 0
    first: Difference | None = None
    for start in range(0, count, BATCH):
        batch = {key: array[start : start + BATCH] for key, array in inputs.items()}
        values = run_reference(exported.quant, batch)
        rows, column = trace[start : start + BATCH], 0
        for layer in exported.layers:
            expected = values[layer].reshape(len(rows), -1)
            dtype = np.dtype(nodes[layer].format.dtype)
            width = expected.shape[1] * dtype.itemsize
            got = np.ascontiguousarray(rows[:, column : column + width]).view(dtype)
            column += width
            different = got != expected
            compared += expected.size
            mismatches += int(different.sum())
            if different.any():
                sample, index = (int(i) for i in np.argwhere(different)[0])
                if first is None or start + sample < first.sample:
                    first = Difference(
                        start + sample,
                        layer,
                        nodes[layer].node.op.kind,
                        index,
                        int(got[sample, index]),
                        int(expected[sample, index]),
                    )
        if column != trace.shape[1]:
            raise InternalError("the trace holds other layers than the manifest")
        progress(start + len(rows))
    return compared, mismatches, first


def choose_inputs(exported: Exported, samples: str, count: int | None) -> dict[str, Array]:
    """Integers to verify on: those of a samples file, else the self-test's and random ones.

    Args:
        exported: the export.
        samples: ``FILE.npz[:KEY]``, or empty.
        count: at most so many samples, evenly spread.

    Raises:
        SamplesError: the file cannot be used.
    """
    quant = exported.quant
    if samples:
        inputs = quantize_inputs(quant, load_samples(samples, quant.graph.inputs))
    else:
        drawn = random_inputs(quant)
        inputs = {name: np.concatenate([exported.samples[name], drawn[name]]) for name in drawn}
    total = len(next(iter(inputs.values())))
    chosen = spread(total, count or total)
    return {name: array[chosen] for name, array in inputs.items()}
