"""Run exported C on samples and compare every byte of every layer with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.build import Target, compiled_size, pack_inputs, run_stream
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
    flash_bytes: int | None
    ram_bytes: int | None
    stack_bytes: int | None
    layer_instructions: tuple[int, ...] = ()


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
    compared, mismatches, first = compare(exported, inputs, run.trace, progress)
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
        layer_instructions=run.layer_instructions,
    )


@dataclass(frozen=True, eq=False)
class Compared:
    """What one layer gave for some samples in a row: integers (samples, elements)."""

    start: int
    layer: str
    got: Array
    expected: Array

    @property
    def different(self) -> Array:
        """Where the two differ."""
        different: Array = self.got != self.expected
        return different


def walk(exported: Exported, inputs: Mapping[str, Array], trace: bytes) -> Iterator[Compared]:
    """Every layer of every batch of samples, beside the reference.

    Raises:
        InternalError: the trace is not one of this export.
    """
    count = len(next(iter(inputs.values())))
    table = np.frombuffer(trace, np.uint8)
    if table.size % count:
        raise InternalError("the trace does not hold whole samples")
    table = table.reshape(count, -1)
    dtypes = {node.name: np.dtype(node.format.dtype) for node in exported.quant.nodes}
    for start in range(0, count, BATCH):
        batch = {key: array[start : start + BATCH] for key, array in inputs.items()}
        values = run_reference(exported.quant, batch)
        rows, column = table[start : start + BATCH], 0
        for layer in exported.layers:
            expected = values[layer].reshape(len(rows), -1)
            width = expected.shape[1] * dtypes[layer].itemsize
            got = np.ascontiguousarray(rows[:, column : column + width])
            column += width
            if got.shape[1] != width:
                break
            yield Compared(start, layer, got.view(dtypes[layer]), expected)
        if column != table.shape[1]:
            raise InternalError("the trace holds other layers than the manifest")


def compare(
    exported: Exported,
    inputs: Mapping[str, Array],
    trace: bytes,
    progress: Callable[[int], None],
) -> tuple[int, int, Difference | None]:
    """Integers compared, how many differ, and the first that does."""
    kinds = {node.name: node.node.op.kind for node in exported.quant.nodes}
    compared = mismatches = 0
    first: Difference | None = None
    for one in walk(exported, inputs, trace):
        different = one.different
        compared += one.expected.size
        mismatches += int(different.sum())
        if different.any():
            found = difference(one, kinds[one.layer])
            if first is None or found.sample < first.sample:
                first = found
        if one.layer == exported.layers[-1]:
            progress(one.start + len(one.expected))
    return compared, mismatches, first


def difference(one: Compared, kind: str) -> Difference:
    """The first integer of a layer that differs; there has to be one."""
    sample, index = (int(i) for i in np.argwhere(one.different)[0])
    return Difference(
        one.start + sample,
        one.layer,
        kind,
        index,
        int(one.got[sample, index]),
        int(one.expected[sample, index]),
    )


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
