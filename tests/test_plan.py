"""The arena: nothing live is overwritten, and the size is the least possible."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcu_export.ops import Array
from mcu_export.plan import ALIGNMENT, aligned, plan
from mcu_export.program import Layout, Overlap, Port, Program, Step, Value
from tests.cases.test_cases import quantized as by_range
from tests.helpers import after_passes, program_of, quantized, toy
from tests.passes.networks import networks

IN_PLACE = (Overlap(0, 0, exact=True),)


def step(
    writes: str, reads: Sequence[str], overlaps: tuple[Overlap, ...] = (), scratch: int = 0
) -> Step:
    return Step(
        layer=writes,
        op="op",
        kernel="kernel",
        comment="",
        statements=(),
        defines=(),
        consts=(),
        reads=tuple(reads),
        writes=writes,
        overlaps=overlaps,
        scratch=Value("", "scratch", "int8_t", scratch) if scratch else None,
        facts={},
    )


def port(value: str, role: str) -> Port:
    return Port(role, value, value, "int8_t", 1, "1", "", ())


def program(
    steps: Sequence[Step],
    sizes: dict[str, int],
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = (),
    aliases: dict[str, str] | None = None,
) -> Program:
    return Program(
        name="net",
        scheme="q7",
        backend="plain-c",
        cmsis_nn_version="",
        includes=(),
        functions=(),
        declarations=(),
        steps=tuple(steps),
        values={name: Value(name, name, "int8_t", size) for name, size in sizes.items()},
        aliases=aliases or {},
        inputs=tuple(port(name, "input") for name in inputs),
        outputs=tuple(port(name, "output") for name in outputs or [steps[-1].writes]),
        labels=(),
    )


def lies_on_an_input(one: Step, sources: Sequence[slice], destination: slice) -> bool:
    """Whether the output overlaps an input; where it does, the step must allow it."""
    met = [
        index
        for index, source in enumerate(sources)
        if source.start < destination.stop and destination.start < source.stop
    ]
    allowed = {overlap.read: overlap for overlap in one.overlaps}
    for index in met:
        distance = destination.start - sources[index].start
        overlap = allowed[index]
        assert distance == overlap.most if overlap.exact else distance <= overlap.most
    return bool(met)


def simulate(made: Program, layout: Layout) -> None:
    """Run the program with tags for data: every byte read must bear the tag of its writer.

    A step clears its scratch memory and its output before it reads, unless its output lies on an
    input as it allows: then it writes nothing that it still reads (tests/backends has the proof).
    """
    arena: Array = np.full(layout.arena_bytes, -1)

    def find(name: str) -> str:
        while name in made.aliases:
            name = made.aliases[name]
        return name

    def place(name: str) -> slice:
        start = layout.offsets[find(name)]
        assert start % ALIGNMENT == 0
        return slice(start, start + made.values[name].bytes)

    tags = {name: number for number, name in enumerate(made.values)}
    for entry in made.inputs:
        arena[place(entry.value)] = tags[find(entry.value)]
    for number, one in enumerate(made.steps):
        destination = place(one.writes)
        if one.scratch:
            start = layout.scratch_offsets[one.layer]
            assert start % ALIGNMENT == 0
            assert start + one.scratch.bytes <= layout.arena_bytes
            arena[start : start + one.scratch.bytes] = -2 - number
        if not lies_on_an_input(one, [place(name) for name in one.reads], destination):
            arena[destination] = -2
        for name in one.reads:
            assert (arena[place(name)] == tags[find(name)]).all(), f"{one.layer} reads {name}"
        arena[destination] = tags[one.writes]
        if one.scratch:
            area = arena[layout.scratch_offsets[one.layer] :][: one.scratch.bytes]
            assert (area == -2 - number).all(), f"{one.layer} has no scratch of its own"
    for entry in made.outputs:
        assert (arena[place(entry.value)] == tags[find(entry.value)]).all(), entry.value


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Random programs: branches, outputs over inputs, scratch, aliases, several outputs."""
    sizes = {"x": draw(st.integers(1, 60))}
    inputs = ["x"]
    if draw(st.booleans()):
        sizes["y"] = draw(st.integers(1, 60))
        inputs.append("y")
    steps: list[Step] = []
    aliases: dict[str, str] = {}
    for index in range(draw(st.integers(1, 9))):
        name = f"v{index}"
        reads = draw(st.lists(st.sampled_from(list(sizes)), min_size=1, max_size=2))
        kind = draw(st.sampled_from(["plain", "plain", "in place", "trailing", "alias"]))
        if kind == "alias" and steps:
            sizes[name] = sizes[reads[0]]
            target = reads[0]
            while target in aliases:
                target = aliases[target]
            aliases[name] = target
            continue
        if kind == "in place":
            sizes[name] = sizes[reads[0]]
            reads = [name for name in reads if sizes[name] == sizes[reads[0]]]
        else:
            sizes[name] = draw(st.integers(1, 60))
        overlaps = IN_PLACE if kind == "in place" else ()
        if kind == "trailing":
            overlaps = (Overlap(0, draw(st.integers(-40, 20))),)
        steps.append(step(name, reads, overlaps, draw(st.sampled_from([0, 0, 5, 40]))))
    if not steps:
        sizes["only"] = 3
        steps.append(step("only", ["x"]))
    computed = [name for name in sizes if name not in inputs]
    more = draw(st.lists(st.sampled_from(computed), max_size=2))
    outputs = list(dict.fromkeys([steps[-1].writes, *more]))
    return program(steps, sizes, inputs, outputs, aliases)


@settings(max_examples=300)
@given(programs())
def test_what_is_live_is_never_overwritten(made: Program) -> None:
    layout = plan(made)
    simulate(made, layout)
    assert layout.arena_bytes >= layout.lower_bound
    assert layout.arena_bytes % ALIGNMENT == 0
    assert layout == plan(made)


@pytest.mark.parametrize("scheme", ["q7", "q15", "int8"])
@settings(max_examples=20, deadline=None)
@given(graph=networks())
def test_random_networks_of_the_tool_itself(scheme: str, graph: object) -> None:
    made = program_of(by_range(after_passes(graph), scheme))
    simulate(made, plan(made))


def least(layout: Layout) -> int:
    """Smallest arena over all orders of placing; for few buffers that holds the optimum."""
    blocks = layout.lifetimes
    best = sum(block.bytes for block in blocks)
    for order in permutations(range(len(blocks))):
        placed: list[tuple[int, int]] = []
        size = 0
        for index in order:
            block, offset = blocks[index], 0
            for other, start in sorted(placed, key=lambda p: p[1]):
                met = blocks[other]
                meets = block.first <= met.last and met.first <= block.last
                if meets and offset < start + met.bytes and start < offset + block.bytes:
                    offset = start + met.bytes
            placed.append((index, offset))
            size = max(size, offset + block.bytes)
        best = min(best, size)
    return best


@settings(max_examples=80)
@given(programs())
def test_the_arena_is_the_least_possible_on_small_programs(made: Program) -> None:
    layout = plan(made)
    if len(layout.lifetimes) <= 6:
        assert layout.lower_bound <= layout.arena_bytes <= least(layout)
        if not any(one.overlaps for one in made.steps):
            assert layout.arena_bytes == least(layout)


def live_bytes(layout: Layout) -> int:
    steps = range(-1, 1 + max(life.last for life in layout.lifetimes))
    return max(
        sum(life.bytes for life in layout.lifetimes if life.first <= step <= life.last)
        for step in steps
    )


@given(programs())
def test_the_lower_bound_is_what_is_live_at_once(made: Program) -> None:
    layout = plan(made)
    saved = sum(aligned(made.values[one.writes].bytes) for one in made.steps if one.overlaps)
    assert live_bytes(layout) - saved <= layout.lower_bound <= live_bytes(layout)


def test_a_chain_needs_its_two_largest_neighbors() -> None:
    sizes = {"x": 16, "a": 80, "b": 40, "c": 8}
    layout = plan(program([step("a", "x"), step("b", "a"), step("c", "b")], sizes))
    assert layout.arena_bytes == layout.lower_bound == 120


def test_an_element_wise_step_writes_over_its_input() -> None:
    sizes = {"x": 16, "a": 80, "b": 80, "c": 8}
    steps = [step("a", "x"), step("b", "a", IN_PLACE), step("c", "b")]
    layout = plan(program(steps, sizes))
    assert layout.offsets["a"] == layout.offsets["b"]
    assert layout.arena_bytes == 96


def test_not_over_an_input_that_is_read_later() -> None:
    sizes = {"x": 16, "a": 80, "b": 80, "c": 8}
    steps = [step("a", "x"), step("b", "a", IN_PLACE), step("c", ["b", "a"])]
    layout = plan(program(steps, sizes))
    assert layout.offsets["a"] != layout.offsets["b"]


def test_not_over_an_output() -> None:
    sizes = {"x": 16, "a": 80, "b": 80}
    steps = [step("a", "x"), step("b", "a", IN_PLACE)]
    layout = plan(program(steps, sizes, outputs=("a", "b")))
    assert layout.offsets["a"] != layout.offsets["b"]


def test_scratch_lives_for_one_step() -> None:
    sizes = {"x": 8, "a": 8, "b": 8}
    steps = [step("a", "x", scratch=100), step("b", "a", scratch=60)]
    layout = plan(program(steps, sizes))
    assert layout.scratch_bytes == 100
    assert layout.arena_bytes == 8 + 8 + aligned(100)


def test_an_output_lives_to_the_end() -> None:
    sizes = {"x": 8, "a": 8, "b": 800}
    layout = plan(program([step("a", "x"), step("b", "a")], sizes, outputs=("a", "b")))
    assert layout.arena_bytes == 808


@pytest.mark.parametrize("layers, reach", [(60, 9), (250, 9), (1500, 9), (1500, 1500)])
def test_long_networks_are_planned(layers: int, reach: int) -> None:
    """Neither recursion nor time runs away, also where greedy orders miss the bound.

    A layer reads the one before it and another of the last ``reach``.
    """
    r = np.random.default_rng(layers)
    sizes, steps = {"x": 100}, []
    names = ["x"]
    for index in range(layers):
        name = f"v{index}"
        sizes[name] = int(r.integers(1, 5000))
        other = names[-int(r.integers(1, min(len(names), reach) + 1))]
        steps.append(step(name, [names[-1], other], scratch=int(r.integers(0, 2)) * 900))
        names.append(name)
    made = program(steps, sizes)
    begun = time.process_time()
    layout = plan(made)
    assert time.process_time() - begun < 5
    simulate(made, layout)
    assert layout.arena_bytes <= 1.25 * layout.lower_bound


def test_the_toy() -> None:
    made = program_of(quantized(after_passes(toy())))
    layout = plan(made)
    simulate(made, layout)
    assert layout.arena_bytes == layout.lower_bound


@pytest.mark.parametrize("size, expected", [(0, 0), (1, 8), (8, 8), (9, 16)])
def test_aligned(size: int, expected: int) -> None:
    assert aligned(size) == expected
