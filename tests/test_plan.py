"""The arena: nothing live is overwritten, and the size is the least possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcu_export.ops import Array
from mcu_export.plan import ALIGNMENT, aligned, plan
from mcu_export.program import Layout, Lifetime, Overlap, Port, Program, Step, Value
from tests.helpers import after_passes, program_of, quantized, toy
from tests.passes.networks import networks

IN_PLACE = (Overlap(0, 0, exact=True),)


def step(
    writes: str,
    reads: Sequence[str],
    overlaps: Sequence[Overlap] = (),
    scratch: int = 0,
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
        overlaps=tuple(overlaps),
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
        includes=(),
        functions=(),
        steps=tuple(steps),
        values={name: Value(name, name, "int8_t", size) for name, size in sizes.items()},
        aliases=aliases or {},
        inputs=tuple(port(name, "input") for name in inputs),
        outputs=tuple(port(name, "output") for name in outputs or [steps[-1].writes]),
        labels=(),
    )


def find(made: Program, name: str) -> str:
    while name in made.aliases:
        name = made.aliases[name]
    return name


def may_lie(made: Program, one: Step, read: str, distance: int) -> bool:
    """Whether the kernel lets its output start so many bytes above the value ``read``.

    A value that is read twice must allow it for both.
    """
    indices = [i for i, name in enumerate(one.reads) if find(made, name) == find(made, read)]
    allowed = {overlap.read: overlap for overlap in one.overlaps}
    return all(
        i in allowed
        and (distance == allowed[i].most if allowed[i].exact else distance <= allowed[i].most)
        for i in indices
    )


def simulate(made: Program, layout: Layout) -> None:
    """Run the program with tags for data: every byte that is read must bear its writer's tag.

    Before a step reads, its scratch memory is overwritten, and its output too, unless the kernel
    allows the overlap.
    """
    arena: Array = np.full(layout.arena_bytes, -1)

    def place(name: str) -> slice:
        start = layout.offsets[find(made, name)]
        assert start % ALIGNMENT == 0
        assert layout.offsets[name] == start
        assert start + made.values[name].room <= layout.arena_bytes
        return slice(start, start + made.values[name].bytes)

    tags = {name: number for number, name in enumerate(made.values)}
    for entry in made.inputs:
        arena[place(entry.value)] = tags[find(made, entry.value)]
    for number, one in enumerate(made.steps):
        destination = place(one.writes)
        if one.scratch:
            start = layout.scratch_offsets[one.layer]
            assert start % ALIGNMENT == 0
            assert start + one.scratch.bytes <= layout.arena_bytes
            arena[start : start + one.scratch.bytes] = -2 - number
            assert start >= destination.stop or start + one.scratch.bytes <= destination.start
        for name in one.reads:
            source = place(name)
            assert (arena[source] == tags[find(made, name)]).all(), f"{one.layer} reads {name}"
            if source.start < destination.stop and destination.start < source.stop:
                assert may_lie(made, one, name, destination.start - source.start), one.layer
        arena[destination] = tags[one.writes]
    for entry in made.outputs:
        assert (arena[place(entry.value)] == tags[find(made, entry.value)]).all(), entry.value


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Random programs with branches, in-place steps, scratch, aliases and several outputs."""
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
        kind = draw(st.sampled_from(["plain", "overlap", "in place", "alias"]))
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
        overlaps: Sequence[Overlap] = IN_PLACE if kind == "in place" else ()
        if kind == "overlap":
            overlaps = [Overlap(i, draw(st.integers(-30, 30))) for i in range(len(reads))]
        scratch = draw(st.sampled_from([0, 0, 5, 40]))
        steps.append(step(name, reads, overlaps, scratch))
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


@pytest.mark.parametrize("scheme", ["q7", "q15"])
@settings(max_examples=25)
@given(graph=networks())
def test_random_networks_of_the_tool_itself(scheme: str, graph: object) -> None:
    made = program_of(quantized(after_passes(graph), scheme))
    simulate(made, plan(made))


def least(made: Program, layout: Layout) -> int:
    """The smallest arena there is: every offset of every buffer is tried, larger and larger."""
    blocks = sorted(layout.lifetimes, key=lambda block: -block.bytes)
    size = max(block.bytes for block in blocks)
    while not fits_into(made, blocks, [], size):
        size += ALIGNMENT
    return size


def fits_into(made: Program, blocks: list[Lifetime], offsets: list[int], size: int) -> bool:
    if len(offsets) == len(blocks):
        return True
    block = blocks[len(offsets)]
    for offset in range(0, size - block.bytes + 1, ALIGNMENT):
        placed = zip(blocks, offsets, strict=False)
        if all(agree(made, block, offset, other, at) for other, at in placed) and fits_into(
            made, blocks, [*offsets, offset], size
        ):
            return True
    return False


def agree(made: Program, a: Lifetime, a_at: int, b: Lifetime, b_at: int) -> bool:
    if a.last < b.first or b.last < a.first:
        return True
    if a_at + a.bytes <= b_at or b_at + b.bytes <= a_at:
        return True
    read, read_at, written, written_at = (
        (a, a_at, b, b_at) if a.last == b.first else (b, b_at, a, a_at)
    )
    if read.last != written.first or read.first >= written.first:
        return False
    one = made.steps[written.first]
    name = next((n for n in one.reads if find(made, n) in read.values), None)
    writes = find(made, one.writes) in written.values
    return bool(name) and writes and may_lie(made, one, name, written_at - read_at)


@settings(max_examples=150)
@given(programs())
def test_the_arena_is_the_least_possible_on_small_programs(made: Program) -> None:
    layout = plan(made)
    if len(layout.lifetimes) <= 6:
        optimum = least(made, layout)
        assert layout.lower_bound <= optimum
        assert layout.arena_bytes == optimum


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


def test_an_output_may_trail_its_input() -> None:
    """A kernel that has read 16 bytes before it writes the first may write 16 bytes behind."""
    sizes = {"x": 8, "a": 80, "b": 96}
    steps = [step("a", "x"), step("b", "a", [Overlap(0, 16)])]
    assert plan(program(steps, sizes)).arena_bytes == 96
    steps = [step("a", "x"), step("b", "a", [Overlap(0, -16)])]
    layout = plan(program(steps, sizes))
    assert (layout.arena_bytes, layout.offsets["b"] - layout.offsets["a"]) == (96, -16)


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


@pytest.mark.parametrize("layers", [60, 250])
def test_long_networks_are_planned(layers: int) -> None:
    """Neither recursion nor time runs away, also where greedy orders miss the bound."""
    r = np.random.default_rng(layers)
    sizes, steps = {"x": 100}, []
    names = ["x"]
    for index in range(layers):
        name = f"v{index}"
        sizes[name] = int(r.integers(1, 5000))
        other = names[-int(r.integers(1, min(len(names), 9) + 1))]
        steps.append(step(name, [names[-1], other], scratch=int(r.integers(0, 2)) * 900))
        names.append(name)
    made = program(steps, sizes)
    layout = plan(made)
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
