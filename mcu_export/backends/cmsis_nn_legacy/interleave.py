"""The order in which the ``_opt`` functions take the weights of a dense layer."""

from __future__ import annotations

import numpy as np

from mcu_export.ops.base import Array


def interleaved(weights: Array, scheme: str) -> Array:
    """Weights (out, in) as the ``_opt`` function of a layer's scheme reads them, flat.

    Rows go in groups of four, a group in blocks of 4 columns (q7) or 2 (q15, q15x7). The columns
    a group has left over follow one by one, four rows each; the rows left over as they are.
    Source: the comments of the three functions in CMSIS 5.9.0.
    """
    rows, columns = weights.shape
    whole_rows = rows - rows % 4
    step = 4 if scheme == "q7" else 2
    whole_columns = columns - columns % step
    groups = weights[:whole_rows].reshape(-1, 4, columns)
    blocks = groups[:, :, :whole_columns].reshape(len(groups), 4, -1, step)
    ordered = _BLOCKS[scheme](blocks)
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


def _q15_blocks(blocks: Array) -> Array:
    """Blocks of rows a b c d and columns 1 and 2 in the order a1 a2 b1 b2 c1 c2 d1 d2."""
    return blocks.transpose(0, 2, 1, 3)


def _q15x7_blocks(blocks: Array) -> Array:
    """Blocks of rows a b c d and columns 1 and 2 in the order a1 b1 a2 b2 c1 d1 c2 d2."""
    groups, _, count, _ = blocks.shape
    split = blocks.reshape(groups, 2, 2, count, 2)  # row pair, row, block, column
    return split.transpose(0, 3, 1, 4, 2)


_BLOCKS = {"q7": _q7_blocks, "q15": _q15_blocks, "q15x7": _q15x7_blocks}
