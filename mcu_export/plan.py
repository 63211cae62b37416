"""Stage 6: one static arena: an offset for every value and every scratch memory.

Values that are live at the same time never overlap. An element-wise step may write over its
input; a reshape is another name for its input. The packing starts from several greedy orders and
then searches until it meets the lower bound or its budget of steps is used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mcu_export.program import Layout, Lifetime, Program

ALIGNMENT = 8
SEARCH_LIMIT = 2_000_000  # comparisons of two buffers, about half a second
SEARCH_BLOCKS = 300  # of more buffers a search sees too few orders to be worth it


@dataclass(frozen=True)
class _Block:
    """A buffer to place: who uses it, when, how large."""

    key: str
    values: tuple[str, ...]
    first: int
    last: int
    bytes: int

    def meets(self, other: _Block) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


def plan(program: Program) -> Layout:
    """Pack all values and scratch memories of the program into one arena."""
    blocks = _blocks(program)
    offsets = pack(blocks)
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
        lower_bound=lower_bound(blocks),
        lifetimes=tuple(
            Lifetime(b.values or (b.key,), b.first, b.last, b.bytes, offsets[b.key])
            for b in sorted(blocks, key=lambda b: (b.first, offsets[b.key]))
        ),
    )


def aligned(size: int) -> int:
    """``size`` rounded up to the alignment of the arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _blocks(program: Program) -> list[_Block]:
    """Every buffer of the program with its lifetime; step -1 is the caller writing the input."""
    home = _homes(program)
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
        _Block(
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
            blocks.append(_Block(f"scratch {index}", (), index, index, size))
    return blocks


def _homes(program: Program) -> dict[str, str]:
    """For each value the value in whose buffer it lies: aliases, and in-place steps."""
    home = {name: name for name in program.values}
    for name, target in program.aliases.items():
        home[name] = target

    def find(name: str) -> str:
        while home[name] != name:
            name = home[name]
        return name

    kept = {find(port.value) for port in program.outputs}
    for index, step in enumerate(program.steps):
        if not step.in_place:
            continue
        source = find(step.reads[0])
        later = any(
            find(name) == source for after in program.steps[index + 1 :] for name in after.reads
        )
        fits = program.values[step.writes].bytes <= program.values[source].bytes
        if source not in kept and not later and fits and find(step.writes) != source:
            if find(step.writes) in kept:
                kept.add(source)
            home[find(step.writes)] = source
    return {name: find(name) for name in program.values}


def lower_bound(blocks: Sequence[_Block]) -> int:
    """Bytes that are live together at the worst step."""
    steps = {block.first for block in blocks}
    return max(
        (sum(b.bytes for b in blocks if b.first <= step <= b.last) for step in steps), default=0
    )


def arena_size(blocks: Iterable[_Block], offsets: dict[str, int]) -> int:
    """End of the highest buffer."""
    return max((offsets[block.key] + block.bytes for block in blocks), default=0)


def pack(blocks: Sequence[_Block]) -> dict[str, int]:
    """Offsets without overlap; the best of some greedy orders, improved by search."""
    bound = lower_bound(blocks)
    orders: list[Callable[[_Block], tuple[int, ...]]] = [
        lambda b: (-b.bytes, b.first),
        lambda b: (b.first - b.last, -b.bytes),
        lambda b: (b.first, -b.bytes),
        lambda b: (-b.last, -b.bytes),
    ]
    best: dict[str, int] = {}
    best_size = -1
    for order in orders:
        offsets = _place(sorted(blocks, key=order))
        size = arena_size(blocks, offsets)
        if best_size < 0 or size < best_size:
            best, best_size = offsets, size
    if best_size > bound and len(blocks) <= SEARCH_BLOCKS:
        best = _Search(blocks, best, best_size, bound).run()
    return best


def _lowest_offset(block: _Block, placed: Sequence[tuple[_Block, int]]) -> int:
    """Lowest free place for ``block`` among those placed that it meets."""
    taken = sorted((offset, other.bytes) for other, offset in placed if block.meets(other))
    offset = 0
    for start, size in taken:
        if offset + block.bytes <= start:
            break
        offset = max(offset, start + size)
    return offset


def _place(order: Sequence[_Block]) -> dict[str, int]:
    """First fit: each block at its lowest free place."""
    placed: list[tuple[_Block, int]] = []
    for block in order:
        placed.append((block, _lowest_offset(block, placed)))
    return {block.key: offset for block, offset in placed}


class _Search:
    """Depth-first search over the orders of placing, bounded by the best arena so far."""

    def __init__(
        self, blocks: Sequence[_Block], best: dict[str, int], size: int, bound: int
    ) -> None:
        self.blocks = sorted(blocks, key=lambda b: -b.bytes)
        self.best, self.size, self.bound = best, size, bound
        self.budget = SEARCH_LIMIT

    def run(self) -> dict[str, int]:
        """The best offsets found."""
        self._extend([], list(self.blocks))
        return self.best

    def _extend(self, placed: list[tuple[_Block, int]], rest: list[_Block]) -> None:
        if self.size <= self.bound or self.budget <= 0:
            return
        if not rest:
            offsets = {block.key: offset for block, offset in placed}
            self.size = arena_size(self.blocks, offsets)
            self.best = offsets
            return
        for index, block in enumerate(rest):
            self.budget -= len(placed) + 1
            offset = _lowest_offset(block, placed)
            if offset + block.bytes < self.size:
                self._extend([*placed, (block, offset)], rest[:index] + rest[index + 1 :])
