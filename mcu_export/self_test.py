"""The dataclasses of the test header: golden inputs, and what every layer makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcu_export.names import comment_text, string_literal
from mcu_export.ops.base import Array
from mcu_export.program import Port, Program, ctype_bytes
from mcu_export.views import ArrayView, ModelView, array_rows


@dataclass(frozen=True, eq=False)
class Golden:
    """Integers of the reference: what goes in, what every value is for each sample."""

    inputs: Mapping[str, Array]
    values: Mapping[str, Array]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class GoldenRow:
    """A port or layer in the table of the test header."""

    literal: str
    identifier: str
    op: str
    golden: str
    bytes: int
    element_bytes: int


@dataclass(frozen=True)
class TestView:
    """The test header."""

    name: str
    upper: str
    title: str
    version: str
    abi: int
    export_id: str
    sample_count: int
    arrays: tuple[ArrayView, ...]
    inputs: tuple[GoldenRow, ...]
    outputs: tuple[GoldenRow, ...]
    layers: tuple[GoldenRow, ...]
    labels_expression: str
    label_count: int
    weight_bytes: int
    macs: int

    @property
    def ports(self) -> tuple[GoldenRow, ...]:
        """Inputs, then outputs."""
        return self.inputs + self.outputs


def test_view(model: ModelView, program: Program, golden: Golden) -> TestView:
    """What the test header shows."""
    arrays: list[ArrayView] = []

    def array(suffix: str, ctype: str, values: Array, comment: str) -> str:
        name = f"{model.name}_test_{suffix}"
        flat = np.asarray(values).ravel()
        arrays.append(ArrayView(name, ctype, int(flat.size), array_rows(flat), comment))
        return name

    def port_row(port: Port, data: Array, value: str) -> GoldenRow:
        suffix = port.identifier.removeprefix(f"{model.name}_")
        comment = f"{comment_text(port.role)} of {len(data)} samples, {port.elements} elements each"
        golden_name = array(suffix, port.ctype, data, comment)
        size = ctype_bytes(port.ctype)
        return GoldenRow(
            string_literal(value), port.identifier, "", golden_name, port.elements * size, size
        )

    inputs = [port_row(p, golden.inputs[p.value], p.value) for p in program.inputs]
    outputs = [port_row(p, golden.values[p.value], p.value) for p in program.outputs]
    layers = []
    for index, step in enumerate(program.steps):
        value, made = program.values[step.writes], golden.values[step.writes][0]
        comment = f"sample 0 after layer {index}, {comment_text(step.layer)}"
        name = array(f"layer_{index}", value.ctype, made, comment)
        layers.append(
            GoldenRow(
                string_literal(step.layer),
                "",
                step.op,
                name,
                made.size * ctype_bytes(value.ctype),
                ctype_bytes(value.ctype),
            )
        )
    return TestView(
        name=model.name,
        upper=model.upper,
        title=model.title,
        version=model.version,
        abi=model.abi,
        export_id=model.export_id,
        sample_count=golden.samples,
        arrays=tuple(arrays),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        layers=tuple(layers),
        labels_expression=f"{model.name}_labels" if model.labels else "NULL",
        label_count=len(model.labels),
        weight_bytes=model.weight_bytes,
        macs=model.macs,
    )
