"""Stage 6: one static arena: an offset for every value and every scratch memory.

Values that are live at the same time never overlap, except where a kernel allows its output to lie
on an input that it consumes (:class:`mcu_export.program.Overlap`). A reshape is another name for
its input. :mod:`mcu_export.pack` finds the offsets.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcu_export.pack import Block, Problem, Rule, arena_size, lower_bound, pack
from mcu_export.program import Layout, Lifetime, Program, Step

ALIGNMENT = 8


def plan(program: Program) -> Layout:
    """Pack all values and scratch memories of the program into one arena."""
    problem = packing_problem(program)
    blocks = problem.blocks
    offsets = pack(problem)
    value_offsets = {name: offsets[block.key] for block in blocks for name in block.values}
    scratch_offsets = {
        step.layer: offsets[f"scratch {index}"]
        for index, step in enumerate(program.steps)
        if step.scratch
    }
    return Layout(
        offsets=value_offsets,
        scratch_offsets=scratch_offsets,
        arena_bytes=arena_size(blocks, offsets),
        scratch_bytes=max((s.scratch.bytes for s in program.steps if s.scratch), default=0),
        lower_bound=lower_bound(problem),
        lifetimes=tuple(
            Lifetime(b.values or (b.key,), b.first, b.last, b.bytes, offsets[b.key])
            for b in sorted(blocks, key=lambda b: (b.first, offsets[b.key]))
        ),
    )


def aligned(size: int) -> int:
    """``size`` rounded up to the alignment of the arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def packing_problem(program: Program) -> Problem:
    """Every buffer of the program with its lifetime; step -1 is the caller writing the input."""
    home = {name: program.aliases.get(name, name) for name in program.values}
    end = len(program.steps)
    spans: dict[str, list[int]] = {}
    for port in program.inputs:
        spans.setdefault(home[port.value], []).append(-1)
    for index, step in enumerate(program.steps):
        for name in (*step.reads, step.writes):
            spans.setdefault(home[name], []).append(index)
    for port in program.outputs:
        spans.setdefault(home[port.value], []).append(end)
    members: dict[str, list[str]] = {}
    for name in program.values:
        members.setdefault(home[name], []).append(name)
    blocks = [
        Block(
            key,
            tuple(members[key]),
            min(steps),
            max(steps),
            aligned(max(program.values[name].room for name in members[key])),
        )
        for key, steps in spans.items()
    ]
    for index, step in enumerate(program.steps):
        if step.scratch:
            size = aligned(step.scratch.bytes)
            blocks.append(Block(f"scratch {index}", (), index, index, size))
    last = {block.key: block.last for block in blocks}
    rules = [
        rule
        for index, step in enumerate(program.steps)
        for rule in _rules(step, [home[name] for name in step.reads], home[step.writes])
        if last[rule.read] == index
    ]
    return Problem(tuple(blocks), tuple(rules), ALIGNMENT)


def _rules(step: Step, reads: Sequence[str], written: str) -> list[Rule]:
    """How the output may lie on each input; an input that is read twice must allow it twice."""
    allowed = {overlap.read: overlap for overlap in step.overlaps}
    rules = []
    for read in dict.fromkeys(reads):
        indices = [index for index, name in enumerate(reads) if name == read]
        if read == written or any(index not in allowed for index in indices):
            continue
        overlaps = [allowed[index] for index in indices]
        most = min(overlap.most for overlap in overlaps)
        exact = any(overlap.exact for overlap in overlaps)
        if not exact or all(overlap.most == most for overlap in overlaps):
            rules.append(Rule(read, written, most, exact))
    return rules
