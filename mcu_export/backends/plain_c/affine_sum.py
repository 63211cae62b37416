"""plain-c for int8 and int16x8: sums and differences, element by element or in vectors."""

from __future__ import annotations

from collections.abc import Mapping

from mcu_export.backends.base import Call, LayerContext
from mcu_export.backends.plain_c.affine_elements import pair_fields
from mcu_export.backends.plain_c.affine_kernels import SumKernel, SumVectors, offset_text
from mcu_export.backends.plain_c.sums import LEAST_SHIFT, MOST_SHIFT, RESCALE, rescaling
from mcu_export.ops import elements


def sum_layer(context: LayerContext) -> Call:
    """Sum or difference."""
    a = context.arithmetic
    fields, names, consts = pair_fields(context)
    kernel = SumKernel(
        what="Sum" if a.sign > 0 else "Difference",
        ctype=str(fields["ctype"]),
        first_ctype=str(fields["first_ctype"]),
        second_ctype=str(fields["second_ctype"]),
        elements=elements(context.shape),
        first=_on_one_scale(context, 0, f"first[{fields['first_index']}]"),
        second=_on_one_scale(context, 1, f"second[{fields['second_index']}]"),
        sign="+" if a.sign > 0 else "-",
        result=_of_sum(context),
        vectors=_vectors(context, fields),
    )
    whole = fields["first_index"] == "i" and names[0] == context.inputs[0]
    return Call(
        "sum",
        arguments=(*names, context.output),
        source=("plain_c/affine_sum.c.j2", kernel),
        consts=consts,
        in_place=whole and kernel.first_ctype == kernel.ctype,
        helpers=(RESCALE,),
    )


def _on_one_scale(context: LayerContext, index: int, element: str) -> str:
    """C expression of an operand times 2^left_shift and its factor.

    The operand with the larger scale has the factor 1/2, which is a shift. A right shift from 2 on
    has a fast sequence (see :mod:`.sums`; the offset 0 is written as 1 there). All others are
    rescaled step by step.
    """
    a = context.arithmetic
    multiplier, shift = a.multipliers[index], a.shifts[index]
    value, unit = f"({element}{offset_text(a.offsets[index])})", 1 << a.left_shift
    if _is_half(multiplier, shift):
        return f"{value} * {unit >> 1}"
    if _is_fast(shift):
        fast = f"{context.model}_scale8_signed"
        return f"{fast}({value} * {unit}, {multiplier}, {-shift - LEAST_SHIFT}, 1)"
    return f"{context.model}_rescale({value} * {unit}, {multiplier}, {shift})"


def _of_sum(context: LayerContext) -> str:
    """C expression of the output for a ``sum``."""
    a, name = context.arithmetic, context.model
    limits = f"{a.low}, {a.high}"
    if context.layer.format.bits == 8 and _is_fast(a.shifts[2]):
        result = rescaling(a.low, a.high, a.output_offset, shared=True)
        shift = -a.shifts[2] - LEAST_SHIFT
        scaled = f"{name}_{result.scale}(sum, {a.multipliers[2]}, {shift}{result.inner})"
        return (
            f"{name}_{result.narrow}({scaled}{f', {limits}' if result.narrow == 'clamp8' else ''})"
        )
    scaled = f"{name}_rescale(sum, {a.multipliers[2]}, {a.shifts[2]})"
    return f"{name}_saturate({scaled}{offset_text(a.output_offset)}, {limits})"


def _is_half(multiplier: int, shift: int) -> bool:
    """Whether the factor of an operand is 1/2."""
    return (multiplier, shift) == (1 << 30, 0)


def _is_fast(shift: int) -> bool:
    """Whether a left shift is one to the right for which the fast sequences are exact."""
    return LEAST_SHIFT <= -shift <= MOST_SHIFT


def _vectors(context: LayerContext, fields: Mapping[str, object]) -> SumVectors | None:
    """The sum in vectors, where all that it needs has a fast sequence."""
    a = context.arithmetic
    bytes_only = {fields[key] for key in ("ctype", "first_ctype", "second_ctype")} == {"int8_t"}
    aligned = fields["first_index"] == fields["second_index"] == "i"
    fast = all(
        _is_half(multiplier, shift) or 1 <= -shift <= MOST_SHIFT
        for multiplier, shift in zip(a.multipliers[:2], a.shifts[:2], strict=True)
    )
    if not (bytes_only and aligned and fast and _is_fast(a.shifts[2])):
        return None
    result = rescaling(a.low, a.high, a.output_offset, shared=True)
    shift = -a.shifts[2] - LEAST_SHIFT
    return SumVectors(
        _lanes_on_one_scale(context, 0, "first"),
        _lanes_on_one_scale(context, 1, "second"),
        "vaddq_s32" if a.sign > 0 else "vsubq_s32",
        f"{context.model}_{result.lanes}(sum, {a.multipliers[2]}, {shift}, {result.offset})",
        a.low,
        a.high,
        whole=_in_fours(context),
    )


def _in_fours(context: LayerContext) -> bool:
    """Whether no vector is filled in part."""
    return elements(context.shape) % 4 == 0


def _lanes_on_one_scale(context: LayerContext, index: int, operand: str) -> str:
    """:func:`_on_one_scale` for four elements; lanes also round a shift by 1 as the reference."""
    a = context.arithmetic
    multiplier, shift, unit = a.multipliers[index], a.shifts[index], 1 << a.left_shift
    at = f"{operand} + i"
    loaded = f"vldrbq_s32({at})" if _in_fours(context) else f"vldrbq_z_s32({at}, lanes)"
    value = f"vaddq_n_s32({loaded}, {a.offsets[index]})"
    if _is_half(multiplier, shift):
        return f"vmulq_n_s32({value}, {unit >> 1})"
    scaled = f"vmulq_n_s32({value}, {unit})"
    return f"{context.model}_lanes_signed({scaled}, {multiplier}, {-shift - LEAST_SHIFT}, 0)"
