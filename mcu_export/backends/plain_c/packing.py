"""Order of q7 weights for the fast kernels: two output channels in one int16.

``element = even + 256 * odd`` holds the weights of output channels 2p and 2p + 1 for one tap. One
16-bit product with the element gives ``even + 256 * odd`` of both sums, one with its low byte the
even sum alone; the odd sum is their difference divided by 256, exactly. So two channels cost one
unpacking instruction, on cores that multiply pairs of 16 bits.

An odd weight of -128 with a negative even weight does not fit 16 bits. A layer that has such a pair
is stored ``coded``: the even weight plus 128, read as unsigned; its kernel subtracts
128 * sum(inputs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.ops.base import Array

CODE = 128
GROUP = 4


@dataclass(frozen=True, eq=False)
class Paired:
    """Weights of an accumulating layer in pairs of output channels.

    Attributes:
        elements: (pairs, taps) int64, the values of the int16 elements; taps is a multiple of 4.
        coded: even weights are stored plus 128.
        quads: inputs are expanded four at a time, in the order 0, 2, 1, 3.
        nibbles: an element is a byte with two weights of 4 bits.
    """

    elements: Array
    coded: bool
    quads: bool
    nibbles: bool = False

    @property
    def taps(self) -> int:
        """Elements of a pair of channels, padding included."""
        return int(self.elements.shape[1])

    def text(self) -> str:
        """The order, for the comment of the constant."""
        if self.nibbles:
            order = "" if self.quads else ", of each 4 taps in the order 0, 2, 1, 3"
            return f"bytes (w[2p] & 15) + 16 * w[2p+1], [pair p of out][tap]{order}"
        even = "(w[2p] + 128)" if self.coded else "w[2p]"
        order = ", of each 4 taps in the order 0, 2, 1, 3" if self.quads else ""
        return f"int16 elements {even} + 256 * w[2p+1], [pair p of out][tap]{order}"


def padded_taps(taps: int) -> int:
    """Taps rounded up to whole groups."""
    return -(-taps // GROUP) * GROUP


def in_quads(rows: Array) -> Array:
    """Rows of whole groups, each in the order 0, 2, 1, 3."""
    grouped: Array = rows.reshape(len(rows), -1, GROUP)[:, :, [0, 2, 1, 3]]
    return grouped.reshape(len(rows), -1)


def _padded_rows(weights: Array) -> Array:
    """Rows (out, taps) with zeros up to whole pairs and groups."""
    out, taps = weights.shape
    wide = np.zeros((out + out % 2, padded_taps(taps)), np.int64)
    wide[:out, :taps] = weights
    return wide


def pair_weights(weights: Array, quads: bool) -> Paired:
    """Pair the rows of ``weights`` (out, taps); missing channels and taps are zero."""
    wide = _padded_rows(weights)
    if quads:
        wide = in_quads(wide)
    even, odd = wide[0::2], wide[1::2]
    coded = bool(np.any((odd == -128) & (even < 0)))
    return Paired(even + (CODE if coded else 0) + 256 * odd, coded, quads)


def pair_nibbles(weights: Array, quads: bool) -> Paired:
    """Pair rows of 4-bit weights, two in a byte; missing channels and taps are zero.

    Of four bytes the kernels take 0 and 2 for the first two inputs of a column, 1 and 3 for the
    others: with ``quads`` that is the order of the inputs.
    """
    wide = _padded_rows(weights)
    if not quads:
        wide = in_quads(wide)
    return Paired((wide[0::2] & 15) + 16 * wide[1::2], coded=False, quads=quads, nibbles=True)


def fits_accumulators(paired: Paired, largest: int, start: int) -> bool:
    """Whether no sum of a kernel leaves 32 bits, in any order of summation.

    Args:
        paired: the weights.
        largest: largest absolute input.
        start: largest absolute value that an accumulator starts with: bias and rounding.
    """
    sums = int(np.abs(paired.elements).sum(axis=1).max()) * largest
    excess = CODE * largest * paired.taps if paired.coded else 0
    return sums + 257 * start + excess < 2**31
