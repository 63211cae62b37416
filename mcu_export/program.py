"""The lowered program: all that a template may see.

Everything is a finished text or number; templates loop and print. ``Program`` comes from
:mod:`mcu_export.lower`, ``Layout`` (where each value lies in the arena) from
:mod:`mcu_export.plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mcu_export.ops.base import Array

# Levels of --optimize, with what the compiler is asked for. `fastest` also takes kernels that have
# larger weights.
LEVELS = {"fastest": "O3", "speed": "O3", "balanced": "O2", "size": "Os"}


@dataclass(frozen=True)
class Choices:
    """What lowering may choose between.

    Attributes:
        optimize: one of :data:`LEVELS`.
        slower: for a layer, how many of the kernels that can run it to pass over; the last one if
            there are not so many.
        by_rows: layers that are to be done in turn with the one before them, where the backend can,
            and how many rows of their output at a time.
    """

    optimize: str = "speed"
    slower: Mapping[str, int] = field(default_factory=dict)
    by_rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Const:
    """A constant array of the weight header.

    Attributes:
        name: C identifier.
        ctype: C type of an element.
        values: the integers, flat, in the order in memory.
        comment: role, shape with axis names, Q format.
        alignment: in bytes, if the kernel needs more than the type.
    """

    name: str
    ctype: str
    values: Array
    comment: str
    alignment: int = 0

    @property
    def bytes(self) -> int:
        """Size in flash."""
        return int(self.values.size) * ctype_bytes(self.ctype)


@dataclass(frozen=True)
class Overlap:
    """Where the output of a step may lie on one of its inputs that nobody reads afterwards.

    Attributes:
        read: index of the input in ``reads``.
        most: the output may start at most so many bytes above the start of the input; a negative
            number means below it.
        exact: it may start there only, or not overlap at all.
    """

    read: int
    most: int
    exact: bool = False


@dataclass(frozen=True)
class Define:
    """A ``#define`` of the weight header."""

    name: str
    value: int | str
    comment: str


@dataclass(frozen=True)
class Function:
    """A C function that a template makes from one frozen dataclass (``kernel``).

    Two layers of the same shape have equal kernels and share one function. ``model`` is the prefix
    of the helpers that it calls.
    """

    model: str
    name: str
    template: str
    kernel: Any


@dataclass(frozen=True)
class Statement:
    """A C call; ``success`` is what the function must return, if it tells."""

    function: str
    arguments: tuple[str, ...]
    success: str = ""


@dataclass(frozen=True)
class Value:
    """A tensor in the arena.

    Attributes:
        name: name of the graph's value.
        variable: C identifier of the pointer to it.
        ctype: C type of an element.
        elements: number of elements.
        behind: bytes behind it that a kernel reads too, and does not use.
    """

    name: str
    variable: str
    ctype: str
    elements: int
    behind: int = 0

    @property
    def bytes(self) -> int:
        """Size in RAM."""
        return self.elements * ctype_bytes(self.ctype)

    @property
    def room(self) -> int:
        """Size in RAM with the bytes behind it."""
        return self.bytes + self.behind


@dataclass(frozen=True)
class Turn:
    """What two layers need that are done in turn: some rows of the first, then of the second.

    Attributes:
        rows: of the second layer's output at a time.
        lines: elements of the first layer's output that are there at a time.
        scratch: memory that both use.
        most: see :class:`Overlap`: where the output may lie on the input of the first.
    """

    rows: int
    lines: int
    scratch: Value | None
    most: int


@dataclass(frozen=True, eq=False)
class Step:
    """One layer in C.

    Attributes:
        layer: name of the layer in the graph, as it is.
        op: kind of the op.
        kernel: which kernel does it, as the manifest names it.
        comment: op, shapes, attributes, Q formats.
        statements: C calls, in order.
        defines, consts: what the weight header has for this layer.
        reads: names of the values read; ``writes``: the value written.
        overlaps: where the output may lie on an input.
        scratch: C variable and bytes of scratch memory, or none.
        facts: numbers for the manifest: shifts, formats, MACs, bound.
        instructions: estimate for an inference on a Cortex-M4; 0: not known.
        alternatives: how many kernels of the backend can run the layer.
        turns: ways in which the layer can be done in turn with the one before it.
        traced: whether the test program sees the output after the step; the function of two layers
            in turn shows it the rows of the first itself.
    """

    layer: str
    op: str
    kernel: str
    comment: str
    statements: tuple[Statement, ...]
    defines: tuple[Define, ...]
    consts: tuple[Const, ...]
    reads: tuple[str, ...]
    writes: str
    overlaps: tuple[Overlap, ...]
    scratch: Value | None
    facts: Mapping[str, Any]
    instructions: int = 0
    alternatives: int = 1
    turns: tuple[Turn, ...] = ()
    traced: bool = True

    @property
    def weight_bytes(self) -> int:
        """Flash for the constants of this layer."""
        return sum(const.bytes for const in self.consts)


@dataclass(frozen=True)
class Port:
    """An input or an output of the network, as the public header shows it."""

    role: str
    value: str
    identifier: str
    ctype: str
    elements: int
    shape: str
    format: str
    defines: tuple[Define, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A network in C, before memory is planned.

    ``aliases`` maps a value that is only another name (a reshape) to the value it stands for.
    ``declarations`` are what the headers of another library than ``cmsis_nn_version`` contradict.
    """

    name: str
    scheme: str
    backend: str
    cmsis_nn_version: str
    includes: tuple[str, ...]
    declarations: tuple[str, ...]
    functions: tuple[Function, ...]
    steps: tuple[Step, ...]
    values: Mapping[str, Value]
    aliases: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...]
    optimize: str = "speed"


@dataclass(frozen=True)
class Layout:
    """Where everything lies in the arena.

    Attributes:
        offsets: byte offset of each value, by its name.
        scratch_offsets: byte offset of the scratch memory of a step, by its layer.
        arena_bytes: size of the arena, scratch included.
        scratch_bytes: largest scratch of a step.
        lower_bound: bytes that are live at once at the worst step: no plan can need less.
        lifetimes: for each buffer the values in it, first and last step, offset and bytes.
    """

    offsets: Mapping[str, int]
    scratch_offsets: Mapping[str, int]
    arena_bytes: int
    scratch_bytes: int
    lower_bound: int
    lifetimes: tuple[Lifetime, ...]


@dataclass(frozen=True)
class Lifetime:
    """A piece of the arena and when it is used; steps are counted from 0, -1 is before the run."""

    values: tuple[str, ...]
    first: int
    last: int
    bytes: int
    offset: int


def take_turns(first: Step, second: Step, turn: Turn) -> tuple[Step, Step]:
    """The steps of two layers that are done in turn: the second does both."""
    return (
        replace(
            first,
            kernel=f"{first.kernel}, in turn with the next layer",
            statements=(),
            overlaps=(),
            scratch=None,
            traced=False,
        ),
        replace(
            second,
            kernel=f"{second.kernel}, {count_text(turn.rows, 'row')} at a time",
            reads=(*first.reads, *second.reads),
            overlaps=(Overlap(0, turn.most),),
            scratch=turn.scratch,
        ),
    )


def count_text(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def ctype_bytes(ctype: str) -> int:
    """Size of one of the C integer types that we use: ``int16_t`` has 2."""
    return int("".join(ch for ch in ctype if ch.isdigit())) // 8
