"""Kernels of plain-c on 16-bit columns: conv and dense where activations or weights have 16 bits.

A conv copies the inputs of two pixels, a dense layer reads its inputs where they are; each weight
is multiplied with two pixels, or each input with two output channels. Weights of 8 bits lie in the
order in which SXTB16 unpacks them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.kernels import Window, window_of
from mcu_export.backends.plain_c.packing import GROUP, in_quads, padded_taps
from mcu_export.backends.plain_c.sums import SumKernel, Sums
from mcu_export.backends.plain_c.trailing import trail_of_pixels
from mcu_export.backends.plain_c.wide import column_sums
from mcu_export.ops import elements
from mcu_export.program import Const, Overlap, ctype_bytes

ALIGNMENT = 4


@dataclass(frozen=True)
class ColumnKernel(SumKernel):
    """What conv and dense share; taps are padded to fours."""

    ctype: str
    weight_ctype: str
    weight_bits: int


@dataclass(frozen=True)
class ColumnConv(ColumnKernel):
    """Convolution, two pixels at a time."""

    window: Window
    in_ctype: str
    in_bits: int
    pad_taps: int


@dataclass(frozen=True)
class ColumnDense(ColumnKernel):
    """Dense, two output channels at a time."""

    rows: int
    in_size: int


def reads_16_bits(context: LayerContext) -> bool:
    """The inputs must have 16 bits."""
    return context.in_ctypes[0] == "int16_t"


def _shared(context: LayerContext, sums: Sums, taps: int) -> dict[str, object]:
    """The fields of a :class:`ColumnKernel`."""
    return {
        "result": sums.result,
        "ctype": context.ctype,
        "weight_ctype": context.param_ctype("weights"),
        "weight_bits": 8 * ctype_bytes(context.param_ctype("weights")),
        "outputs": len(sums.flat_weights),
        "taps": taps,
    }


def _weights(context: LayerContext, sums: Sums, axes: str) -> Const:
    """Weights of each output channel, padded to fours."""
    flat = sums.flat_weights
    padded = np.zeros((len(flat), padded_taps(flat.shape[1])), np.int64)
    padded[:, : flat.shape[1]] = flat
    const = context.const("weights", context.params["weights"], axes)
    comment = f"{const.comment}, padded to {GROUP} taps"
    if const.ctype == "int8_t":
        padded, comment = in_quads(padded), f"{comment}, of each {GROUP} in the order 0, 2, 1, 3"
    return Const(const.name, const.ctype, padded.ravel(), comment, ALIGNMENT)


def conv2d(context: LayerContext) -> Call:
    """Call of a convolution on columns."""
    sums, weights = column_sums(context), context.params["weights"]
    window = window_of(context, (weights.shape[1], weights.shape[2]))
    real_taps, in_ctype = sums.flat_weights.shape[1], context.in_ctypes[0]
    taps = padded_taps(real_taps)
    kernel = ColumnConv(
        **_shared(context, sums, taps),  # type: ignore[arg-type]
        window=window,
        in_ctype=in_ctype,
        in_bits=8 * ctype_bytes(in_ctype),
        pad_taps=taps - real_taps,
    )
    scratch = context.scratch((2 if window.pairs else 1) * taps, "int16_t")
    trail = Overlap(0, trail_of_pixels(window, 2) * ctype_bytes(in_ctype))
    return Call(
        "conv2d",
        arguments=(
            context.inputs[0],
            context.name("weights"),
            *sums.arguments,
            scratch.variable,
            context.output,
        ),
        source=("plain_c/conv2d_columns.c.j2", kernel),
        defines=sums.defines,
        consts=(_weights(context, sums, "out, h, w, in"), *sums.consts),
        scratch=scratch,
        overlaps=(trail,) if in_ctype == context.ctype else (),
    )


def dense(context: LayerContext) -> Call:
    """Call of a dense layer with inputs of 16 bits."""
    sums = column_sums(context)
    outputs, in_size = sums.weights.shape
    kernel = ColumnDense(
        **_shared(context, sums, padded_taps(in_size)),  # type: ignore[arg-type]
        rows=elements(context.shape) // outputs,
        in_size=in_size,
    )
    return Call(
        "dense",
        arguments=(context.inputs[0], context.name("weights"), *sums.arguments, context.output),
        source=("plain_c/dense_pairs.c.j2", kernel),
        defines=sums.defines,
        consts=(_weights(context, sums, "out, in"), *sums.consts),
    )
