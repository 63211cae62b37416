"""The order in which the ``_opt`` functions take the weights of a dense layer."""

from __future__ import annotations

import numpy as np

from mcu_export.ops.base import Array


def interleaved(weights: Array, bits: int) -> Array:
    """Weights (out, in) as ``arm_fully_connected_q7_opt`` or ``_q15_opt`` reads them, flat.

    Rows go in groups of four, a group in blocks of 4 (q7) or 2 (q15) columns. The columns a group
    has left over follow one by one, four rows each; the rows left over follow as they are.
    Source: the comments of the two functions in CMSIS 5.9.0.
    """
    rows, columns = weights.shape
    whole_rows = rows - rows % 4
    step = 4 if bits == 8 else 2
    whole_columns = columns - columns % step
    groups = weights[:whole_rows].reshape(-1, 4, columns)
    blocks = groups[:, :, :whole_columns].reshape(len(groups), 4, -1, step)
    ordered = _q7_blocks(blocks) if bits == 8 else blocks.transpose(0, 2, 1, 3)
    left_over = groups[:, :, whole_columns:].transpose(0, 2, 1)
    parts = (ordered.reshape(len(groups), -1), left_over.reshape(len(groups), -1))
    flat = np.concatenate(parts, axis=1).ravel()
    return np.concatenate([flat, weights[whole_rows:].ravel()])


def _q7_blocks(blocks: Array) -> Array:
    """Blocks of rows a b c d and columns 1 to 4 in the order a1 b1 a3 b3 c1 d1 c3 d3 a2 b2 ...

    Two rows at a time, columns 1 and 3 before 2 and 4: ``SXTB16`` takes every other byte of a word.
    """
    groups, _, count, _ = blocks.shape
    split = blocks.reshape(groups, 2, 2, count, 2, 2)  # row pair, row, block, column pair, column
    return split.transpose(0, 3, 5, 1, 4, 2)
