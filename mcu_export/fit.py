"""Stages 5 and 6 together: layers in turn, and the fastest kernels whose arena fits a limit.

Two layers in turn (:mod:`mcu_export.turns`) cost little time and may save much memory, so they are
taken without a limit, too.

A backend's table may have several kernels for a layer, the fastest first. Which bytes are live at a
step depends on the kernel of that step alone, so each step can take the fastest of its kernels that
stays below the limit; where packing loses bytes, the limit is lowered by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcu_export.backends.base import Backend
from mcu_export.lower import lower
from mcu_export.pack import step_loads
from mcu_export.plan import packing_problem, plan
from mcu_export.program import Choices, Layout, Program
from mcu_export.quantgraph import QuantGraph
from mcu_export.turns import find_turns

Lowered = Callable[[Choices], Program]

# Without a limit layers take turns if the arena has at most this share of what it had.
WORTHWHILE = 0.95


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
    """The fastest program whose arena has at most ``max_ram`` bytes.

    Layers take turns where it does not fit otherwise; without a limit, where that saves much. Where
    nothing fits, the program with the smallest arena: whoever set the limit has to refuse it.

    Args:
        quant, backend, name, labels: as in :func:`mcu_export.lower.lower`.
        optimize: one of :data:`mcu_export.program.LEVELS`.
        max_ram: bytes, or None for no limit.

    Raises:
        UnsupportedLayerError: a layer that no kernel of the backend can run.
    """

    def lowered(choices: Choices) -> Program:
        return lower(quant, backend, name, labels, replace(choices, optimize=optimize))

    program, layout = _planned(lowered(Choices()))
    if max_ram is not None and layout.arena_bytes <= max_ram:
        return program, layout
    by_rows = find_turns(program)
    taking_turns = _planned(lowered(Choices(by_rows=by_rows))) if by_rows else (program, layout)
    arena = taking_turns[1].arena_bytes
    if max_ram is None:
        return taking_turns if arena <= WORTHWHILE * layout.arena_bytes else (program, layout)
    if arena <= max_ram:
        return taking_turns
    made = [
        _slower(lowered, program, max_ram, rows) for rows in ([{}, by_rows] if by_rows else [{}])
    ]
    return min(made, key=lambda one: _rank(one, max_ram))


def _planned(program: Program) -> tuple[Program, Layout]:
    return program, plan(program)


def _rank(made: tuple[Program, Layout], max_ram: int) -> tuple[int, int]:
    """What fits comes first, by its instructions; else the arena counts."""
    program, layout = made
    above = max(layout.arena_bytes - max_ram, 0)
    return above, sum(step.instructions for step in program.steps)


def _slower(
    lowered: Lowered, fastest: Program, max_ram: int, by_rows: Mapping[str, int]
) -> tuple[Program, Layout]:
    """The fastest kernels with which the arena fits, else those with the smallest arena."""
    table = _alternatives(lowered, fastest, by_rows)
    smallest = _chosen(table, 0)
    target, chosen = max_ram, _chosen(table, max_ram)
    while True:
        program, layout = _planned(lowered(Choices(slower=chosen, by_rows=by_rows)))
        above = layout.arena_bytes - max_ram
        if above <= 0 or chosen == smallest:
            return program, layout
        target -= above
        chosen = _chosen(table, target)


def _alternatives(
    lowered: Lowered, fastest: Program, by_rows: Mapping[str, int]
) -> dict[str, list[Alternative]]:
    """Every kernel of every step: the n-th of all steps at once, as long as one has an n-th."""
    table: dict[str, list[Alternative]] = {step.layer: [] for step in fastest.steps}
    slower = 0
    while True:
        program = lowered(Choices(slower=dict.fromkeys(table, slower), by_rows=by_rows))
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
