"""Stages 5 and 6 together: the fastest kernels whose arena fits a limit.

A backend's table may have several kernels for a layer, the fastest first. Which bytes are live at a
step depends on the kernel of that step alone, so each step can take the fastest of its kernels that
stays below the limit; where packing loses bytes, the limit is lowered by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcu_export.backends.base import Backend
from mcu_export.lower import lower
from mcu_export.pack import step_loads
from mcu_export.plan import packing_problem, plan
from mcu_export.program import Choices, Layout, Program
from mcu_export.quantgraph import QuantGraph


@dataclass(frozen=True)
class Alternative:
    """A kernel that a layer can have.

    Attributes:
        slower: how many kernels of the table that can run the layer come before it.
        instructions: estimate for an inference.
        live_bytes: what is live while it runs, at least.
    """

    slower: int
    instructions: int
    live_bytes: int


def fit(
    quant: QuantGraph,
    backend: Backend,
    name: str,
    labels: Sequence[str] = (),
    optimize: str = "speed",
    max_ram: int | None = None,
) -> tuple[Program, Layout]:
    """The program with the fastest kernels whose arena has at most ``max_ram`` bytes.

    Where none has, the one with the smallest: whoever set the limit has to refuse it.

    Args:
        quant, backend, name, labels: as in :func:`mcu_export.lower.lower`.
        optimize: one of :data:`mcu_export.program.LEVELS`.
        max_ram: bytes, or None for no limit.

    Raises:
        UnsupportedLayerError: a layer that no kernel of the backend can run.
    """

    def planned(slower: Mapping[str, int]) -> tuple[Program, Layout]:
        program = lower(quant, backend, name, labels, Choices(optimize, slower))
        return program, plan(program)

    program, layout = planned({})
    if max_ram is None or layout.arena_bytes <= max_ram:
        return program, layout
    table = _alternatives(quant, backend, name, program)
    smallest = _chosen(table, 0)
    target, chosen = max_ram, _chosen(table, max_ram)
    while True:
        program, layout = planned(chosen)
        above = layout.arena_bytes - max_ram
        if above <= 0 or chosen == smallest:
            return program, layout
        target -= above
        chosen = _chosen(table, target)


def _alternatives(
    quant: QuantGraph, backend: Backend, name: str, fastest: Program
) -> dict[str, list[Alternative]]:
    """Every kernel of every step: the n-th of all steps at once, as long as one has an n-th."""
    table: dict[str, list[Alternative]] = {step.layer: [] for step in fastest.steps}
    program, slower = fastest, 0
    while True:
        loads = step_loads(packing_problem(program))
        more = [
            (index, step) for index, step in enumerate(program.steps) if slower < step.alternatives
        ]
        for index, step in more:
            found = Alternative(slower, step.instructions, loads[index])
            table[step.layer].append(found)
        if not more:
            return table
        slower += 1
        choices = Choices(slower={step.layer: slower for step in fastest.steps})
        program = lower(quant, backend, name, (), choices)


def _chosen(table: Mapping[str, Sequence[Alternative]], most: int) -> dict[str, int]:
    """For each layer the fastest kernel with at most ``most`` live bytes, else the smallest."""
    chosen = {}
    for layer, alternatives in table.items():
        fitting = [a for a in alternatives if a.live_bytes <= most]
        best = (
            min(fitting, key=lambda a: a.instructions)
            if fitting
            else min(alternatives, key=lambda a: (a.live_bytes, a.instructions))
        )
        chosen[layer] = best.slower
    return chosen
