"""Which layers are done in turn, some rows at a time, so that the arena gets smaller.

The step with the most live bytes decides the arena. If it reads or writes what another layer alone
reads or writes, and both can take turns, the value between them is never there as a whole. So long
as that lowers the peak, the best such pair at the peak is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mcu_export.pack import step_loads
from mcu_export.plan import packing_problem
from mcu_export.program import Program, Turn, take_turns


def find_turns(program: Program) -> dict[str, int]:
    """Layers to be done in turn with the one before, and rows of their output at a time.

    It is empty where that does not lower the peak.
    """
    chosen: dict[str, int] = {}
    now = _peak(program)
    best, peak = dict(chosen), now[0]
    while True:
        tried = [
            (_peak(made), -turn.rows, index, made, turn)
            for index, turn in _at_the_peak(program)
            for made in [_with(program, index, turn)]
        ]
        least = min(tried, key=lambda one: one[:3], default=None)
        if least is None or least[0] >= now:
            return best
        now, _, index, program, turn = least
        chosen[program.steps[index].layer] = turn.rows
        if now[0] < peak:  # else another step is as large, and may get smaller next
            best, peak = dict(chosen), now[0]


def _peak(program: Program) -> tuple[int, int]:
    """Bytes that are live at the worst step, and how many steps are as bad."""
    loads = list(step_loads(packing_problem(program)).values())
    return max(loads), loads.count(max(loads))


def _at_the_peak(program: Program) -> Iterator[tuple[int, Turn]]:
    """Steps that can take turns with the one before, where one of the two is the largest."""
    loads = step_loads(packing_problem(program))
    peak = max(loads.values())
    for index in range(1, len(program.steps)):
        both = program.steps[index - 1 : index + 1]
        # Of steps that take turns already the first is not traced, and the second reads two values.
        free = all(step.traced and len(step.reads) == 1 for step in both)
        if free and peak in (loads.get(index - 1), loads.get(index)):
            yield from ((index, turn) for turn in both[1].turns)


def _with(program: Program, index: int, turn: Turn) -> Program:
    """The memory of the program when step ``index`` takes turns with the one before."""
    steps, before = list(program.steps), program.steps[index - 1]
    steps[index - 1 : index + 1] = take_turns(before, program.steps[index], turn)
    value = replace(program.values[before.writes], elements=turn.lines)
    return replace(program, steps=tuple(steps), values={**program.values, before.writes: value})
