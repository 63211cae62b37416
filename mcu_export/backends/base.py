"""What a backend is: a table of kernels, each with the constraints under which it can run.

A constraint is a predicate whose docstring is both its documentation and the text of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcu_export.backends.cost import NO_COST, Cost
from mcu_export.errors import UnsupportedLayerError
from mcu_export.graph import shape_text
from mcu_export.ops.base import Array, Op, Params, Shape
from mcu_export.program import Const, Define, Function, Overlap, Turn, Value
from mcu_export.quantgraph import QuantNode
from mcu_export.schemes.formats import Format


@dataclass(frozen=True, eq=False)
class LayerContext:
    """A quantized layer with all that a kernel needs to know about it.

    Attributes:
        layer: the quantized layer.
        model: C name of the model.
        identifier: C identifier of the layer, without the model's name.
        shapes: shapes of the inputs.
        formats: formats of the inputs.
        limits: smallest and largest integer that each input really takes.
        inputs: C expressions of the inputs; ``output`` that of the output.
        read_later: whether each input is needed after this layer: another one reads it, or it is
            an output of the network.
        scheme: of this layer, see :func:`mcu_export.schemes.widths.layer_scheme`.
        optimize: one of :data:`mcu_export.program.LEVELS`.
    """

    layer: QuantNode
    model: str
    identifier: str
    shapes: tuple[Shape, ...]
    formats: tuple[Format, ...]
    limits: tuple[tuple[int, int], ...]
    inputs: tuple[str, ...]
    output: str
    read_later: tuple[bool, ...]
    scheme: str
    optimize: str

    @property
    def op(self) -> Any:
        """The op with its attributes."""
        return self.layer.node.op

    @property
    def arithmetic(self) -> Any:
        """The integer arithmetic of the layer."""
        return self.layer.arithmetic

    @property
    def params(self) -> Params:
        """Integer constants."""
        return self.layer.params

    @property
    def shape(self) -> Shape:
        """Shape of the output."""
        return self.layer.node.shape

    @property
    def ctype(self) -> str:
        """C type of an element of the output."""
        return f"{self.layer.format.dtype}_t"

    @property
    def in_ctypes(self) -> tuple[str, ...]:
        """C types of the elements of the inputs."""
        return tuple(f"{fmt.dtype}_t" for fmt in self.formats)

    def param_ctype(self, role: str) -> str:
        """C type of an element of constant ``role``."""
        return f"{self.layer.param_formats[role].dtype}_t"

    def name(self, suffix: str) -> str:
        """C identifier of a constant of this layer: ``kws_conv_1_weights``."""
        return f"{self.model}_{self.identifier}_{suffix}"

    def macro(self, suffix: str) -> str:
        """Macro of this layer: ``KWS_CONV_1_OUT_SHIFT``."""
        return f"{self.model}_{self.identifier}_{suffix}".upper()

    def const(self, role: str, values: Array, axes: str) -> Const:
        """Constant ``role`` of this layer, laid out as ``axes`` says (``out, h, w, in``)."""
        fmt = self.layer.param_formats[role]
        comment = f"{role}, {shape_text(values.shape)} ({axes}), {fmt.text()}"
        return Const(self.name(role), self.param_ctype(role), values.ravel(), comment)

    def scratch(self, elements: int, ctype: str) -> Value:
        """Scratch memory of this layer."""
        return Value("", f"{self.identifier}_scratch", ctype, elements)


@dataclass(frozen=True, eq=False)
class Call:
    """How a layer is done in C: one call, and what it needs.

    ``source`` is the template and the frozen dataclass that make the function; the function of a
    library has none. An empty ``function`` says that nothing has to be done. ``success`` is what
    the function must return, if it tells. ``reads_behind`` is how many bytes behind its first input
    it reads without using them. ``then`` is called next, in place on the output: an activation that
    the function itself does not do. ``in_place`` is short for an exact overlap with the first
    input. ``helpers`` are templates of functions that the function calls; each is made once.
    ``extra`` is what it costs beyond the cost of the kernel.
    """

    function: str
    arguments: tuple[str, ...] = ()
    source: tuple[str, Any] | None = None
    defines: tuple[Define, ...] = ()
    consts: tuple[Const, ...] = ()
    scratch: Value | None = None
    in_place: bool = False
    overlaps: tuple[Overlap, ...] = ()
    reads_behind: int = 0
    success: str = ""
    then: Call | None = None
    helpers: tuple[str, ...] = ()
    extra: Cost = NO_COST

    @property
    def title(self) -> str:
        """What the manifest calls it, where it is not the kernel of the table."""
        return f"plain-c {self.function}" if self.source else self.function

    @property
    def all_overlaps(self) -> tuple[Overlap, ...]:
        """Every way in which the output may lie on an input."""
        return self.overlaps + ((Overlap(0, 0, exact=True),) if self.in_place else ())


Constraint = Callable[[LayerContext], bool]


@dataclass(frozen=True)
class Kernel:
    """One row of a backend's table; ``schemes`` are those of single layers.

    ``wide`` is the cost where the output has 16 bits, if that differs.
    """

    name: str
    op: type[Op]
    schemes: frozenset[str]
    lower: Callable[[LayerContext], Call]
    constraints: tuple[Constraint, ...] = ()
    cost: Cost = NO_COST
    wide: Cost | None = None

    def cost_of(self, call: Call, bits: int) -> Cost:
        """What this very call costs whose output has ``bits`` bits."""
        cost = self.wide if self.wide and bits > 8 else self.cost
        return cost + call.extra


@dataclass(frozen=True, eq=False)
class LoweredLayer:
    """A layer, the kernel that was chosen for it, and its call.

    ``alternatives`` and ``turns`` are those of :class:`mcu_export.program.Step`.
    """

    context: LayerContext
    kernel: Kernel
    call: Call
    alternatives: int
    turns: tuple[Turn, ...] = ()

    @property
    def name(self) -> str:
        """Of the layer in the graph."""
        return self.context.layer.name


@dataclass(frozen=True, eq=False)
class RowWise:
    """Two layers in turn: a few rows of the first, then the rows of the second that need them.

    Attributes:
        first, second: the functions that compute some rows, as calls.
        turn: the memory that it takes.
        call: of both, given the names of their functions and the index of the first in the trace.
    """

    first: Call
    second: Call
    turn: Turn
    call: Callable[[str, str, int], Call]


# Two layers, and how many rows of the second at a time.
MakeRowWise = Callable[[LoweredLayer, LoweredLayer, int], RowWise | None]


def never(first: LoweredLayer, second: LoweredLayer, rows: int) -> RowWise | None:
    """A backend that does each layer as a whole."""
    return None


@dataclass(frozen=True)
class Backend:
    """A set of kernels; for a layer the first row whose constraints all hold wins.

    The rows that follow are slower or larger; where RAM is limited, one of them may be taken.

    ``includes`` are headers that the generated C includes. ``cmsis_nn_version`` is the release of
    the library that it calls, where it matters; ``declarations`` are what a header of another
    release contradicts. ``row_wise`` does two layers in turn, so that what the first gives is never
    there as a whole; None: it cannot.
    """

    name: str
    about: str
    kernels: tuple[Kernel, ...]
    includes: tuple[str, ...] = ()
    schemes: tuple[str, ...] = field(default=("q7", "q15", "q15x7", "mixed"))
    cmsis_nn_version: str = ""
    declarations: tuple[str, ...] = ()
    row_wise: MakeRowWise = never


def usable_kernels(
    backend: Backend, context: LayerContext, others: Sequence[Backend]
) -> list[Kernel]:
    """The kernels of the backend that can run the layer, at least one, the fastest first.

    Raises:
        UnsupportedLayerError: none can; lists each with its reason and names backends that can.
    """
    usable, reasons = [], []
    for kernel in backend.kernels:
        if kernel.op is not type(context.op) or context.scheme not in kernel.schemes:
            continue
        failed = [_reason(c) for c in kernel.constraints if not c(context)]
        if not failed:
            usable.append(kernel)
        reasons.append(f"{kernel.name}: {'; '.join(failed)}")
    if usable:
        return usable
    able = [o.name for o in others if o.name != backend.name and _can(o, context)]
    raise UnsupportedLayerError(
        f"backend {backend.name} has no kernel for {context.op.kind} in {context.scheme}"
        + "".join(f"\n         {reason}" for reason in reasons),
        where=f"layer {context.layer.name!r}",
        fix=f"use --backend {' or '.join(able)}" if able else "see `mcu-export list ops`",
    )


def _reason(constraint: Constraint) -> str:
    return (constraint.__doc__ or constraint.__name__).strip().rstrip(".")


def _can(backend: Backend, context: LayerContext) -> bool:
    return any(
        kernel.op is type(context.op)
        and context.scheme in kernel.schemes
        and all(constraint(context) for constraint in kernel.constraints)
        for kernel in backend.kernels
    )


def function_of(
    context: LayerContext, call: Call, known: Mapping[Any, Function]
) -> Function | None:
    """The function that the call needs: an equal one that is known, or a new one."""
    if call.source is None:
        return None
    template, kernel = call.source
    if call.source in known:  # of the template too: a conv and a depthwise may have equal kernels
        return known[call.source]
    # Counted by name: two templates may make functions of one name.
    prefix = f"{context.model}_{call.function}_"
    same_name = sum(f"{f.name.rpartition('_')[0]}_" == prefix for f in known.values())
    return Function(context.model, f"{prefix}{same_name + 1}", template, kernel)
