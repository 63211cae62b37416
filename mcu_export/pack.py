"""Packing of buffers with lifetimes into one arena, where some may overlap in part.

The search places buffers one after the other at promising offsets: from several orders first, then
from random variations of them (always the same ones), until the lower bound or the budget is met.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

# How often all blocks are placed at most, and how many pairs of blocks that takes.
TRIES = 400
EFFORT = 2_000_000


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
    def by_key(self) -> Mapping[str, Block]:
        """The blocks, by key."""
        return {block.key: block for block in self.blocks}

    @cached_property
    def ruled(self) -> Mapping[str, Mapping[str, tuple[Rule, bool]]]:
        """For each block those that it may overlap: the rule, and whether the other is read."""
        found: dict[str, dict[str, tuple[Rule, bool]]] = {block.key: {} for block in self.blocks}
        for rule in self.rules:
            found[rule.written][rule.read] = rule, True
            found[rule.read][rule.written] = rule, False
        return found

    @cached_property
    def apart(self) -> Mapping[str, tuple[Block, ...]]:
        """For each block those that are live at some step with it and must not overlap it."""
        found: dict[str, list[Block]] = {block.key: [] for block in self.blocks}
        ordered = sorted(self.blocks, key=lambda b: b.first)
        for index, block in enumerate(ordered):
            for other in ordered[index + 1 :]:
                if other.first > block.last:
                    break
                if other.key not in self.ruled[block.key]:
                    found[block.key].append(other)
                    found[other.key].append(block)
        return {key: tuple(others) for key, others in found.items()}


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
    effort = sum(len(others) for others in problem.apart.values()) + len(problem.blocks)
    for attempt in range(max(1, min(TRIES, EFFORT // max(effort, 1)))):
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
    offsets: dict[str, int] = {}
    for block in order:
        taken = _taken(problem, block, offsets)
        place = lowest = _lowest_free(taken, problem.alignment)
        if wander and generator.random() < wander:
            place = generator.choice(_free_places(taken, problem.alignment))
        if limit and place + block.bytes >= limit:
            place = lowest
            if place + block.bytes >= limit:
                return None
        offsets[block.key] = place
    return offsets


def _taken(problem: Problem, block: Block, offsets: Mapping[str, int]) -> list[tuple[int, int]]:
    """Where the block must not start: between the two numbers of each pair, which are in order."""
    taken = [
        (offsets[other.key] - block.bytes, offsets[other.key] + other.bytes)
        for other in problem.apart[block.key]
        if other.key in offsets
    ]
    for key, (rule, is_read) in problem.ruled[block.key].items():
        if key not in offsets:
            continue
        low, high = offsets[key] - block.bytes, offsets[key] + problem.by_key[key].bytes
        # The block may start there, or on one side of it.
        place = offsets[key] + (rule.most if is_read else -rule.most)
        if rule.exact or not is_read:
            taken.append((low, min(place, high)))
        if rule.exact or is_read:
            taken.append((max(place, low), high))
    return sorted(taken)


def _lowest_free(taken: Sequence[tuple[int, int]], unit: int) -> int:
    """The lowest multiple of ``unit`` that is not taken."""
    place = 0
    for low, high in taken:
        if low < place < high:
            place = -(-high // unit) * unit
    return place


def _free_places(taken: Sequence[tuple[int, int]], unit: int) -> list[int]:
    """Multiples of ``unit`` worth trying: beside what is taken."""
    ends = {
        0,
        *(low // unit * unit for low, _ in taken),
        *(-(-high // unit) * unit for _, high in taken),
    }
    return [
        place
        for place in sorted(ends)
        if place >= 0 and not any(low < place < high for low, high in taken)
    ]
