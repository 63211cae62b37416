"""The dataclasses that templates see, made from a program, its layout and golden data.

Here is all the text work of rendering: rows of numbers, wrapped calls, escaped names. A template
prints fields and loops, nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcu_export.names import comment_text, string_literal
from mcu_export.notes import notes_on
from mcu_export.ops.base import Array
from mcu_export.program import (
    LEVELS,
    Const,
    Define,
    Layout,
    Port,
    Program,
    Statement,
    Step,
)
from mcu_export.version import ABI, __version__

LINE = 96


@dataclass(frozen=True)
class ArrayView:
    """A constant array."""

    name: str
    ctype: str
    count: int
    rows: str
    comment: str
    attribute: str = ""


@dataclass(frozen=True)
class LayerView:
    """A layer, in the header of weights and in the run function.

    ``work`` says what the C file does for it: kernel, MACs, constants and their order.
    """

    index: int
    comment: str
    work: tuple[str, ...]
    calls: tuple[str, ...]
    output: str
    output_bytes: int
    traced: bool
    defines: tuple[Define, ...]
    consts: tuple[ArrayView, ...]


@dataclass(frozen=True)
class PortView:
    """An input or output, with its place in the arena."""

    role: str
    value: str
    identifier: str
    ctype: str
    elements: int
    shape: str
    format: str
    defines: tuple[Define, ...]
    offset: int
    cpp_name: str
    cpp_const: str
    cpp_constants: tuple[Define, ...]


@dataclass(frozen=True)
class MemoryRow:
    """A pointer into the arena."""

    ctype: str
    variable: str
    offset: int
    comment: str


@dataclass(frozen=True)
class ModelView:
    """All of a model: for the public header, the weight header and the C file."""

    name: str
    upper: str
    title: str
    version: str
    abi: int
    export_id: str
    weight_bytes: int
    ram_bytes: int
    arena_bytes: int
    macs: int
    includes: tuple[str, ...]
    cmsis_nn_version: str
    declarations: tuple[str, ...]
    checked: bool
    labels: tuple[str, ...]
    inputs: tuple[PortView, ...]
    outputs: tuple[PortView, ...]
    layers: tuple[LayerView, ...]
    notes: tuple[str, ...]
    compiler_level: str
    memory_header: str
    memory: tuple[MemoryRow, ...]
    helpers: tuple[str, ...]
    functions: tuple[str, ...]

    @property
    def ports(self) -> tuple[PortView, ...]:
        """Inputs, then outputs."""
        return self.inputs + self.outputs


def array_rows(values: Array) -> str:
    """The integers in aligned columns of at most ``LINE`` characters; no last newline."""
    flat = [str(v) for v in np.asarray(values).ravel().tolist()]
    width = max((len(text) for text in flat), default=1)
    per_line = max(1, (LINE - 4) // (width + 2))
    lines = []
    for start in range(0, len(flat), per_line):
        row = flat[start : start + per_line]
        lines.append("    " + ", ".join(text.rjust(width) for text in row) + ",")
    return "\n".join(lines)


def const_view(const: Const) -> ArrayView:
    """A constant array, its comment made safe."""
    return ArrayView(
        const.name,
        const.ctype,
        int(const.values.size),
        array_rows(const.values),
        comment_text(const.comment),
        f" __attribute__((aligned({const.alignment})))" if const.alignment else "",
    )


def call_text(statement: Statement) -> str:
    """A C call statement, wrapped; what a function returns is checked where it tells."""
    end = f") == {statement.success});" if statement.success else ");"
    line = ("MCU_EXPORT_CHECK(" if statement.success else "") + f"{statement.function}("
    lines = []
    last = len(statement.arguments) - 1
    for index, argument in enumerate(statement.arguments):
        piece = argument + (end if index == last else ", ")
        if len(line) + len(piece) > LINE - 4 and index:
            lines.append(line.rstrip())
            line = "        "
        line += piece
    return "\n".join((*lines, line))


def export_id(program: Program, layout: Layout) -> str:
    """A number that changes whenever the generated code does, as C sees it: ``0x1234abcdU``."""
    digest = hashlib.sha256(f"{ABI} {program.name} {program.scheme} {program.backend}".encode())
    digest.update(program.cmsis_nn_version.encode())
    for function in program.functions:
        digest.update(repr(function).encode())
    for step in program.steps:
        digest.update(repr((step.statements, step.defines, step.comment)).encode())
        for const in step.consts:
            digest.update(const.name.encode() + np.ascontiguousarray(const.values).tobytes())
    digest.update(repr((program.inputs, program.outputs, program.labels)).encode())
    digest.update(program.optimize.encode())
    digest.update(repr((layout.lifetimes, sorted(layout.scratch_offsets.items()))).encode())
    return f"0x{digest.hexdigest()[:8]}U"


def model_view(
    program: Program,
    layout: Layout,
    helpers: Sequence[str],
    functions: Sequence[str],
    title: str,
) -> ModelView:
    """What the header, the weight header and the C file show."""
    return ModelView(
        name=program.name,
        upper=program.name.upper(),
        title=comment_text(title),
        version=__version__,
        abi=ABI,
        export_id=export_id(program, layout),
        weight_bytes=sum(step.weight_bytes for step in program.steps),
        ram_bytes=layout.arena_bytes,
        arena_bytes=layout.arena_bytes,
        macs=sum(step.facts["macs"] for step in program.steps),
        includes=program.includes,
        cmsis_nn_version=program.cmsis_nn_version,
        declarations=program.declarations,
        checked=any(each.success for step in program.steps for each in step.statements),
        labels=tuple(string_literal(label) for label in program.labels),
        inputs=tuple(_port_view(port, program, layout) for port in program.inputs),
        outputs=tuple(_port_view(port, program, layout) for port in program.outputs),
        layers=tuple(_layer_view(i, step, program) for i, step in enumerate(program.steps)),
        notes=notes_on(program.scheme),
        compiler_level=LEVELS[program.optimize],
        memory_header=_memory_header(layout),
        memory=_memory_rows(program, layout),
        helpers=tuple(helpers),
        functions=tuple(functions),
    )


def _port_view(port: Port, program: Program, layout: Layout) -> PortView:
    home = program.aliases.get(port.value, port.value)
    prefix = f"{program.name}_"
    constants = tuple(
        Define(d.name.removeprefix(prefix.upper()).lower(), d.name, d.comment) for d in port.defines
    )
    return PortView(
        port.role,
        comment_text(port.value),
        port.identifier,
        port.ctype,
        port.elements,
        port.shape,
        port.format,
        port.defines,
        layout.offsets[home],
        port.identifier.removeprefix(prefix),
        "const " if port.role == "output" else "",
        constants,
    )


def _layer_view(index: int, step: Step, program: Program) -> LayerView:
    output = program.values[step.writes]
    return LayerView(
        index=index,
        comment=step.comment,
        work=_work(step),
        calls=tuple(call_text(each) for each in step.statements),
        output=output.variable,
        output_bytes=output.bytes,
        traced=step.traced,
        defines=step.defines,
        consts=tuple(const_view(const) for const in step.consts),
    )


def _work(step: Step) -> tuple[str, ...]:
    """What the C file does for the layer; of its constants the first has an order to tell."""
    macs = f"{step.facts['macs']:,} MACs" if step.facts["macs"] else ""
    cost = f"about {step.instructions:,} instructions (Cortex-M4)" if step.instructions else ""
    return (
        ": ".join(filter(None, (step.kernel, ", ".join(filter(None, (macs, cost)))))),
        *(comment_text(f"{const.name}: {const.comment}") for const in step.consts[:1]),
    )


def _memory_header(layout: Layout) -> str:
    at_bound = layout.arena_bytes == layout.lower_bound
    bound = "which is the least possible" if at_bound else f"lower bound {layout.lower_bound}"
    return f"{layout.arena_bytes} bytes, {bound}; steps are counted from 0"


def _memory_rows(program: Program, layout: Layout) -> tuple[MemoryRow, ...]:
    spans = {name: life for life in layout.lifetimes for name in life.values}
    used = {name for step in program.steps for name in (*step.reads, step.writes)}
    rows = []
    for name, value in program.values.items():
        if name not in used:  # another name, or an input that no layer reads
            continue
        life = spans[name]
        first = "input" if life.first < 0 else f"step {life.first}"
        last = "end" if life.last >= len(program.steps) else f"step {life.last}"
        comment = f"{value.bytes} bytes, {first} to {last}"
        rows.append(MemoryRow(value.ctype, value.variable, layout.offsets[name], comment))
    for step in program.steps:
        if step.scratch:
            offset = layout.scratch_offsets[step.layer]
            comment = f"{step.scratch.bytes} bytes of scratch"
            rows.append(MemoryRow(step.scratch.ctype, step.scratch.variable, offset, comment))
    return tuple(rows)
