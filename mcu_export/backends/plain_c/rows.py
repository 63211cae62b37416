"""Two layers in turn, some rows at a time: what the first gives is never there as a whole.

The second layer reads windows, so of the first layer's output only the rows under one window are
needed at a time. They lie in ``lines``; rows that no later window reads are moved out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from textwrap import wrap

from mcu_export.backends.base import Call, LoweredLayer, RowWise
from mcu_export.backends.plain_c.kernels import Window
from mcu_export.backends.plain_c.trailing import bands, trail_of_bands
from mcu_export.program import Turn, Value, ctype_bytes

# Templates whose functions can compute some rows; pooling has too little to do to come first.
READERS = frozenset(
    f"plain_c/{name}.c.j2"
    for name in (
        "conv2d_packed",
        "conv2d_columns",
        "depthwise_plane",
        "max_pool2d",
        "average_pool2d",
    )
)
# Of a line of arguments.
WIDTH = 84
MAKERS = READERS - {"plain_c/max_pool2d.c.j2", "plain_c/average_pool2d.c.j2"}


@dataclass(frozen=True)
class Part:
    """One of the two layers.

    Attributes:
        function: computes some rows.
        arguments: lines of C text: what it takes between input and scratch memory.
        scratch: C text of the scratch memory, or nothing.
        layer: index in the trace.
        text: what it is, for the comment.
    """

    function: str
    arguments: tuple[str, ...]
    scratch: str
    layer: int
    text: str


@dataclass(frozen=True)
class RowWiseKernel:
    """Both layers; ``rows`` of the output are computed at a time.

    Rows of the first have ``row`` elements. At most ``lines`` of them are there, and ``needed`` of
    them are read at all. ``window`` is that of the second.
    """

    first: Part
    second: Part
    in_ctype: str
    line_ctype: str
    ctype: str
    scratch: bool
    row: int
    lines: int
    needed: int
    rows: int
    window: Window

    @property
    def top(self) -> str:
        """C text: what is taken off for the padding above the first window."""
        return f" - {self.window.pad_top}" if self.window.pad_top else ""

    @property
    def output(self) -> str:
        """C text: where row ``begin`` of the output is."""
        return f"output + begin * {self.window.out_row}"


def row_wise(first: LoweredLayer, second: LoweredLayer, rows: int) -> RowWise | None:
    """``first`` and ``second``, which alone reads it, in turn; None where they cannot.

    Args:
        first: makes rows.
        second: reads windows of them.
        rows: of the output of ``second``, that are computed at a time.
    """
    made, read = first.call, second.call
    if not (_is_one_of(made, MAKERS) and _is_one_of(read, READERS)):
        return None
    before, after = _window(made), _window(read)
    if not in_order(after):
        return None
    parts = list(bands(after, rows))
    lines = max(band.bottom - band.top for band in parts)
    scratch = _larger(made.scratch, read.scratch)
    in_bytes = ctype_bytes(first.context.in_ctypes[0])
    out_row = after.out_row * ctype_bytes(second.context.ctype)
    turn = Turn(
        rows,
        lines * before.out_row,
        second.context.scratch(scratch.elements, scratch.ctype) if scratch else None,
        trail_of_bands(before, parts, in_bytes, out_row),
    )
    return RowWise(
        first=_by_rows(made),
        second=_by_rows(read),
        turn=turn,
        call=partial(_call, first, second, turn, parts[-1].bottom),
    )


def _is_one_of(call: Call, templates: frozenset[str]) -> bool:
    return call.source is not None and call.source[0] in templates and call.then is None


def in_order(w: Window) -> bool:
    """Whether each window begins in or right behind the rows that were read before."""
    last = (w.out_height - 1) * w.stride_y - w.pad_top
    return w.stride_y <= w.span_y and w.pad_top < w.span_y and last < w.in_height


def _by_rows(call: Call) -> Call:
    assert call.source
    template, kernel = call.source
    kernel = replace(kernel, window=replace(kernel.window, by_rows=True))
    return replace(call, function=f"{call.function}_rows", source=(template, kernel))


def _call(
    first: LoweredLayer,
    second: LoweredLayer,
    turn: Turn,
    needed: int,
    first_function: str,
    second_function: str,
    layer: int,
) -> Call:
    """The call of both; ``needed`` rows of the first are read at all."""
    before, after = _window(first.call), _window(second.call)
    kernel = RowWiseKernel(
        first=_part(first.call, first_function, layer),
        second=_part(second.call, second_function, layer + 1),
        in_ctype=first.context.in_ctypes[0],
        line_ctype=first.context.ctype,
        ctype=second.context.ctype,
        scratch=turn.scratch is not None,
        row=before.out_row,
        lines=turn.lines // before.out_row,
        needed=needed,
        rows=turn.rows,
        window=after,
    )
    scratch = (turn.scratch.variable,) if turn.scratch else ()
    return Call(
        "row_wise",
        arguments=(*first.context.inputs, first.context.output, *scratch, second.context.output),
        source=("plain_c/row_wise.c.j2", kernel),
    )


def _window(call: Call) -> Window:
    assert call.source
    window: Window = call.source[1].window
    return window


def _larger(one: Value | None, other: Value | None) -> Value | None:
    """The scratch memories are used in turn, so the larger one serves both; all are int16_t."""
    both = [value for value in (one, other) if value]
    return max(both, key=lambda value: value.bytes, default=None)


def _part(call: Call, function: str, layer: int) -> Part:
    between = call.arguments[1 : -2 if call.scratch else -1]
    lines = wrap(", ".join((*between, "")).strip(), WIDTH, break_long_words=False)
    text = f"{call.function}, {_window(call).text}"
    return Part(function, tuple(lines), "scratch, " if call.scratch else "", layer, text)
