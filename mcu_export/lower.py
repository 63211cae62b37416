"""Stage 5: the quantized network becomes a list of C calls.

For every layer the backend's table gives the kernel; the kernel says what it is called with, which
constants it needs in which order, and how much scratch memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcu_export.backends import BACKENDS
from mcu_export.backends.base import (
    Backend,
    Call,
    LayerContext,
    LoweredLayer,
    RowWise,
    function_of,
    usable_kernels,
)
from mcu_export.backends.cost import work_of
from mcu_export.graph import node_macs, shape_text
from mcu_export.names import comment_text, network_names
from mcu_export.ops import elements
from mcu_export.program import (
    Choices,
    Define,
    Function,
    Port,
    Program,
    Statement,
    Step,
    Value,
    take_turns,
)
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.schemes.widths import layer_scheme

# What the manifest says of a layer's arithmetic, where it has it.
FACTS = (
    *("bias_shift", "out_shift", "shift", "shifts", "multiplier", "multipliers"),
    *("left_shift", "rounding", "acc_bits"),
)
# Rows at a time that are considered for layers in turn: more are faster, fewer take less memory.
ROWS = (8, 4, 2, 1)


def lower(
    quant: QuantGraph,
    backend: Backend,
    name: str,
    labels: Sequence[str] = (),
    choices: Choices = Choices(),  # noqa: B008 -- frozen
) -> Program:
    """The program that runs ``quant`` with the kernels of ``backend``.

    Args:
        quant: the quantized network.
        backend: one of :data:`mcu_export.backends.BACKENDS`.
        name: C name of the model, prefix of all that is generated.
        labels: one text per element of the first output, or none.
        choices: which kernels, of those that can run a layer.

    Raises:
        UnsupportedLayerError: a layer that no kernel of the backend can run.
    """
    return _Lowering(quant, backend, name, choices).program(tuple(labels))


class _Lowering:
    """The tables that grow while one network is lowered, layer by layer."""

    def __init__(self, quant: QuantGraph, backend: Backend, name: str, choices: Choices) -> None:
        self.quant, self.backend, self.model, self.choices = quant, backend, name, choices
        self.shapes = quant.graph.shapes()
        self.formats = quant.formats()
        graph = quant.graph
        self.names = network_names(self.shapes, [t.name for t in graph.inputs], graph.outputs)
        self.limits = {n: (f.lowest, f.highest) for n, f in quant.input_formats.items()}
        inputs = {tensor.name for tensor in quant.graph.inputs}
        self.values = {
            value: Value(
                value,
                f"{self.names.values[value]}_{'in' if value in inputs else 'out'}",
                f"{self.formats[value].dtype}_t",
                elements(shape),
            )
            for value, shape in self.shapes.items()
        }
        self.last_read = {name: i for i, n in enumerate(graph.nodes) for name in n.inputs}
        self.last_read |= dict.fromkeys(graph.outputs, len(graph.nodes))
        self.aliases: dict[str, str] = {}
        self.functions: dict[Any, Function] = {}
        self.steps: list[Step] = []
        self.waiting: LoweredLayer | None = None

    def program(self, labels: tuple[str, ...]) -> Program:
        """Lower every layer and put the program together."""
        for index, layer in enumerate(self.quant.nodes):
            self._layer(index, layer)
        self._write_waiting()
        graph = self.quant.graph
        return Program(
            name=self.model,
            scheme=self.quant.scheme,
            backend=self.backend.name,
            cmsis_nn_version=self.backend.cmsis_nn_version,
            includes=self.backend.includes,
            declarations=self.backend.declarations,
            functions=tuple(self.functions.values()),
            steps=tuple(self.steps),
            values=self.values,
            aliases=self.aliases,
            inputs=tuple(
                self._port(tensor.name, "input", identifier)
                for tensor, identifier in zip(graph.inputs, self.names.inputs, strict=True)
            ),
            outputs=tuple(
                self._port(value, "output", identifier)
                for value, identifier in zip(graph.outputs, self.names.outputs, strict=True)
            ),
            labels=labels,
            optimize=self.choices.optimize,
        )

    def _context(self, index: int, layer: QuantNode) -> LayerContext:
        inputs = layer.node.inputs
        formats = tuple(self.formats[i] for i in inputs)
        return LayerContext(
            layer=layer,
            model=self.model,
            identifier=self.names.values[layer.name],
            shapes=tuple(self.shapes[i] for i in inputs),
            formats=formats,
            limits=tuple(self.limits[i] for i in inputs),
            inputs=tuple(self._variable(i) for i in inputs),
            output=self.values[layer.name].variable,
            read_later=tuple(self._read_later(index, i) for i in inputs),
            scheme=layer_scheme(self.quant.scheme, formats, layer.param_formats, layer.format),
            optimize=self.choices.optimize,
        )

    def _read_later(self, index: int, value: str) -> bool:
        """Whether ``value``, by whatever name, is needed after layer ``index``."""
        home = self._home(value)
        names = (home, *(name for name in self.aliases if self._home(name) == home))
        return any(self.last_read.get(name, -1) > index for name in names)

    def _variable(self, value: str) -> str:
        return self.values[self._home(value)].variable

    def _home(self, value: str) -> str:
        while value in self.aliases:
            value = self.aliases[value]
        return value

    def _layer(self, index: int, layer: QuantNode) -> None:
        context = self._context(index, layer)
        self.limits[layer.name] = (layer.arithmetic.low, layer.arithmetic.high)
        kernels = usable_kernels(self.backend, context, tuple(BACKENDS.values()))
        kernel = kernels[min(self.choices.slower.get(layer.name, 0), len(kernels) - 1)]
        call = kernel.lower(context)
        if not call.function:
            self.aliases[layer.name] = self._home(layer.node.inputs[0])
            self._write_waiting()
            return
        self._leave_room(self._home(layer.node.inputs[0]), call.reads_behind)
        now = LoweredLayer(context, kernel, call, len(kernels))
        rows = self.choices.by_rows.get(layer.name, 0)
        both = self._row_wise(now, rows) if rows else None
        if self.waiting and both:
            self._write_both(self.waiting, now, both)
            return
        possible = (self._row_wise(now, rows) for rows in ROWS if rows < context.shape[0])
        turns = tuple(each.turn for each in possible if each)
        self._write_waiting()
        self.waiting = replace(now, turns=turns)

    def _row_wise(self, now: LoweredLayer, rows: int) -> RowWise | None:
        """The layer in turn with the one before it, if it alone reads what that one gives."""
        before, context = self.waiting, now.context
        if before is None or context.layer.node.inputs != (before.name,) or any(context.read_later):
            return None
        return self.backend.row_wise(before, now, rows)

    def _write_waiting(self) -> None:
        """The step of the layer before, once it is clear that it is not done in turn."""
        if self.waiting:
            self.steps.append(self._step(self.waiting))
        self.waiting = None

    def _write_both(self, before: LoweredLayer, now: LoweredLayer, both: RowWise) -> None:
        """Two steps, of which the first has no code: its rows are made in the second."""
        makes = self._function(before.context, both.first)
        reads = self._function(now.context, both.second)
        call = both.call(makes, reads, len(self.steps))
        self.values[before.name] = replace(self.values[before.name], elements=both.turn.lines)
        self.steps += take_turns(self._step(before, ()), self._step(now, (call,)), both.turn)
        self.waiting = None

    def _leave_room(self, value: str, behind: int) -> None:
        known = self.values[value]
        self.values[value] = replace(known, behind=max(known.behind, behind))

    def _function(self, context: LayerContext, call: Call) -> str:
        """The C name of a call's function, which is made, or found among those made before."""
        for helper in call.helpers:
            self.functions.setdefault(helper, Function(self.model, "", helper, None))
        function = function_of(context, call, self.functions)
        if function:
            self.functions[function.template, function.kernel] = function
        return function.name if function else call.function

    def _statement(self, context: LayerContext, call: Call) -> Statement:
        return Statement(self._function(context, call), call.arguments, call.success)

    def _step(self, done: LoweredLayer, calls: tuple[Call, ...] | None = None) -> Step:
        """The step of a layer; ``calls`` in place of its own."""
        context, call = done.context, done.call
        layer = context.layer
        cost = done.kernel.cost_of(call, layer.format.bits)
        own = (call, call.then) if call.then else (call,)
        return Step(
            layer=layer.name,
            op=context.op.kind,
            kernel=" + ".join((done.kernel.name, *(behind.title for behind in own[1:]))),
            comment=comment_text(describe(context)),
            statements=tuple(
                self._statement(context, each) for each in (own if calls is None else calls)
            ),
            defines=call.defines,
            consts=call.consts,
            reads=tuple(self._home(i) for i in layer.node.inputs),
            writes=layer.name,
            overlaps=call.all_overlaps,
            scratch=call.scratch,
            facts=self._facts(context),
            instructions=cost.instructions(work_of(layer.node, self.shapes)),
            alternatives=done.alternatives,
            turns=done.turns,
        )

    def _facts(self, context: LayerContext) -> dict[str, Any]:
        """What the manifest says of the layer."""
        layer, a = context.layer, context.arithmetic
        facts: dict[str, Any] = {
            "macs": node_macs(layer.node, self.shapes),
            "shape": list(context.shape),
            "inputs": list(layer.node.inputs),
            "scheme": context.scheme,
            "format": layer.format.text(),
        }
        for key in context.formats[0].facts():
            facts[f"input_{key}"] = [f.facts()[key] for f in context.formats]
        for role, fmt in (("output", layer.format), *layer.param_formats.items()):
            facts |= {f"{role}_{key}": value for key, value in fmt.facts().items()}
        for shown in FACTS:
            if hasattr(a, shown):
                facts[shown] = getattr(a, shown)
        facts["accumulator_bound"] = getattr(a, "bound", None)
        return facts

    def _port(self, value: str, role: str, identifier: str) -> Port:
        macro = f"{self.model}_{identifier}".upper()
        fmt, shape = self.formats[value], self.shapes[value]
        return Port(
            role=role,
            value=value,
            identifier=f"{self.model}_{identifier}",
            ctype=f"{fmt.dtype}_t",
            elements=elements(shape),
            shape=" x ".join(str(size) for size in shape),
            format=f"{fmt.text()}: {fmt.formula()}",
            defines=(
                Define(f"{macro}_SIZE", elements(shape), "elements"),
                *(Define(f"{macro}_{suffix}", number, "") for suffix, number in fmt.macros()),
            ),
        )


def describe(context: LayerContext) -> str:
    """One line on a layer: op, shapes, attributes, Q formats."""
    layer = context.layer
    shapes = " + ".join(shape_text(shape) for shape in context.shapes)
    formats = [f.text() for f in (*context.formats, *layer.param_formats.values())]
    return (
        f"{layer.name}: {context.op.text()}, {shapes} -> {shape_text(context.shape)}, "
        f"{' * '.join(formats[:2])} -> {layer.format.text()}"
    )
