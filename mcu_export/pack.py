"""Packing of buffers with lifetimes into one arena, where some may overlap in part.

The search places buffers one after the other at promising offsets: from several orders first, then
from random variations of them (always the same ones), until the lower bound or the budget is met.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

TRIES = 400
PLACEMENTS = 24_000


@dataclass(frozen=True)
class Block:
    """A buffer to place: who uses it, when (first and last step), how large."""

    key: str
    values: tuple[str, ...]
    first: int
    last: int
    bytes: int

    def meets(self, other: Block) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Rule:
    """Block ``written`` may overlap block ``read``, whose last step is the first of ``written``.

    Its offset less that of ``read`` must be at most ``most``; with ``exact``, equal to it.
    """

    read: str
    written: str
    most: int
    exact: bool

    def allows(self, distance: int) -> bool:
        """Whether ``written`` may start so many bytes above ``read``."""
        return distance == self.most if self.exact else distance <= self.most

    def saving(self, read: int, written: int) -> int:
        """Most bytes that an overlap can save for buffers of these sizes."""
        distance = self.most if self.exact else min(self.most, 0)
        union = max(read, distance + written) - min(0, distance)
        return max(0, read + written - union)


@dataclass(frozen=True, eq=False)
class Problem:
    """Blocks, the overlaps that are allowed, and the alignment of offsets."""

    blocks: tuple[Block, ...]
    rules: tuple[Rule, ...] = ()
    alignment: int = 8

    @cached_property
    def by_pair(self) -> Mapping[tuple[str, str], Rule]:
        """The rules, by read and written block."""
        return {(rule.read, rule.written): rule for rule in self.rules}

    @cached_property
    def neighbors(self) -> Mapping[str, frozenset[str]]:
        """For each block those that are live at some step with it."""
        found: dict[str, set[str]] = {block.key: set() for block in self.blocks}
        ordered = sorted(self.blocks, key=lambda b: b.first)
        for index, block in enumerate(ordered):
            for other in ordered[index + 1 :]:
                if other.first > block.last:
                    break
                found[block.key].add(other.key)
                found[other.key].add(block.key)
        return {key: frozenset(keys) for key, keys in found.items()}

    def compatible(self, a: Block, a_offset: int, b: Block, b_offset: int) -> bool:
        """Whether two blocks that meet may lie there."""
        if a_offset + a.bytes <= b_offset or b_offset + b.bytes <= a_offset:
            return True
        forth, back = self.by_pair.get((a.key, b.key)), self.by_pair.get((b.key, a.key))
        if forth:
            return forth.allows(b_offset - a_offset)
        return back.allows(a_offset - b_offset) if back else False


def step_loads(problem: Problem) -> dict[int, int]:
    """For each step the bytes that are live at it, allowed overlaps at their best."""
    blocks = {block.key: block for block in problem.blocks}
    loads = dict.fromkeys((block.first for block in problem.blocks), 0)
    for block in problem.blocks:
        for step in range(block.first, block.last + 1):
            if step in loads:
                loads[step] += block.bytes
    savings: dict[str, int] = {}
    for rule in problem.rules:
        saved = rule.saving(blocks[rule.read].bytes, blocks[rule.written].bytes)
        savings[rule.written] = savings.get(rule.written, 0) + saved
    for key, saved in savings.items():
        loads[blocks[key].first] -= min(saved, blocks[key].bytes)
    return loads


def lower_bound(problem: Problem) -> int:
    """Bytes that are live together at the worst step: no packing can need less."""
    return max(step_loads(problem).values(), default=0)


def arena_size(blocks: Iterable[Block], offsets: Mapping[str, int]) -> int:
    """End of the highest buffer."""
    return max((offsets[block.key] + block.bytes for block in blocks), default=0)


def pack(problem: Problem) -> dict[str, int]:
    """Offsets of all blocks; the best found."""
    bound, loads = lower_bound(problem), step_loads(problem)
    peak = {
        b.key: max((loads[s] for s in loads if b.first <= s <= b.last), default=0)
        for b in problem.blocks
    }
    orders = [
        sorted(problem.blocks, key=lambda b: (-peak[b.key], -b.bytes, b.first)),
        sorted(problem.blocks, key=lambda b: (-b.bytes, b.first)),
        sorted(problem.blocks, key=lambda b: (b.first, -b.bytes)),
        sorted(problem.blocks, key=lambda b: (-b.last, -b.bytes)),
    ]
    generator = random.Random(0)
    best: dict[str, int] = {}
    best_size = 0
    tries = min(TRIES, PLACEMENTS // max(len(problem.blocks), 1))
    for attempt in range(len(orders) + tries):
        if attempt < len(orders):
            order, wander = orders[attempt], 0.0
        else:
            order, wander = _shuffled(orders[attempt % 2], generator), 0.25
        offsets = _place(problem, order, wander, generator, best_size)
        if offsets is None:
            continue
        size = arena_size(problem.blocks, offsets)
        if not best or size < best_size:
            best, best_size = offsets, size
        if best_size <= bound:
            break
    return best


def _shuffled(order: Sequence[Block], generator: random.Random) -> list[Block]:
    """The order with each block moved by a few places."""
    keys = {block.key: i + generator.uniform(0, 4) for i, block in enumerate(order)}
    return sorted(order, key=lambda b: keys[b.key])


def _place(
    problem: Problem,
    order: Sequence[Block],
    wander: float,
    generator: random.Random,
    limit: int,
) -> dict[str, int] | None:
    """Each block at its lowest place, or with probability ``wander`` at another one.

    None where the arena would not become smaller than ``limit`` (0: no limit).
    """
    blocks = {block.key: block for block in order}
    offsets: dict[str, int] = {}
    for block in order:
        met = [(blocks[key], offsets[key]) for key in problem.neighbors[block.key] & offsets.keys()]
        free = [
            offset
            for offset in sorted(_candidates(problem, block, met))
            if all(problem.compatible(block, offset, other, at) for other, at in met)
        ]
        place = generator.choice(free) if wander and generator.random() < wander else free[0]
        if limit and place + block.bytes >= limit:
            place = free[0]
            if place + block.bytes >= limit:
                return None
        offsets[block.key] = place
    return offsets


def _candidates(problem: Problem, block: Block, met: Sequence[tuple[Block, int]]) -> set[int]:
    """Offsets worth trying: beside, or as far on as allowed, each block that is placed."""
    unit = problem.alignment
    found = {0}
    for other, at in met:
        found.add(at + other.bytes)
        found.add(at - block.bytes)
        written = problem.by_pair.get((other.key, block.key))
        if written:
            found.add((at + written.most) // unit * unit)
            found.add(at)
        read = problem.by_pair.get((block.key, other.key))
        if read:
            found.add(-((read.most - at) // unit) * unit)
            found.add(at + other.bytes - block.bytes)
    return {offset for offset in found if offset >= 0 and offset % unit == 0}
