"""How far the output of a kernel may lie on its input: what is written trails what is still read.

With ``most`` the output may start at most so many elements above the start of the input; a negative
number means below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from mcu_export.backends.plain_c.kernels import Window


def lowest_input(w: Window, pixel: int) -> int:
    """Index of the first input element that output ``pixel`` reads; it reads none below.

    A window that lies wholly in the padding reads nothing; the index is then the one of the nearest
    row, which errs on the safe side.
    """
    out_y, out_x = divmod(pixel, w.out_width)
    y = _first_inside(out_y * w.stride_y - w.pad_top, w.dilation_y, w.in_height)
    x = _first_inside(out_x * w.stride_x - w.pad_left, w.dilation_x, w.in_width)
    return (y * w.in_width + x) * w.in_channels


def _first_inside(start: int, dilation: int, size: int) -> int:
    while start < 0:
        start += dilation
    return min(start, size)


def trail_of_pixels(w: Window, step: int) -> int:
    """``most`` for a kernel that computes ``step`` pixels at once, all channels, in order.

    It reads all inputs of the pixels before it writes them; with a ``step`` of 0 it computes one
    pixel and may write any channel of it before it has read the others. What is written stays at or
    below the first element that is read afterwards. In elements.
    """
    pixels = w.out_height * w.out_width
    lowest = w.in_height * w.in_width * w.in_channels
    most = lowest
    for pixel in reversed(range(pixels)):
        lowest = min(lowest, lowest_input(w, pixel))
        written = pixel + 1 if step == 0 else pixel
        if step == 0 or (pixel % step == 0 and pixel):
            most = min(most, lowest - written * w.out_channels)
    return most


def trail_of_planes(w: Window, block_rows: int) -> bool:
    """Whether a kernel that takes one channel after the other may write over its input.

    Channel c of the output takes the places of channel c of the first input pixels: before rows of
    output are written, the rows of input at these places must have been copied.
    """
    if w.in_channels != w.out_channels or w.out_height * w.out_width > w.in_height * w.in_width:
        return False
    for end in range(block_rows, w.out_height + block_rows, block_rows):
        rows = min(end, w.out_height)
        copied = (rows - 1) * w.stride_y - w.pad_top + w.span_y
        next_row = copied if w.span_y >= w.stride_y else rows * w.stride_y - w.pad_top
        if end < w.out_height and rows * w.out_width > next_row * w.in_width:
            return False
    return True


def trail_of_blocks(w: Window, height: int, width: int) -> int:
    """``most`` for a kernel that computes blocks of pixels at once, all channels, row after row.

    It reads all inputs of a block before it writes it. In elements.
    """
    most = lowest = w.in_height * w.in_width * w.in_channels
    for top in reversed(range(0, w.out_height, height)):
        for left in reversed(range(0, w.out_width, width)):
            block = [
                y * w.out_width + x
                for y in range(top, min(top + height, w.out_height))
                for x in range(left, min(left + width, w.out_width))
            ]
            most = min(most, lowest - (block[-1] + 1) * w.out_channels)
            lowest = min(lowest, *(lowest_input(w, pixel) for pixel in block))
    return most


@dataclass(frozen=True)
class Band:
    """Some rows of a layer whose input is made row by row: rows ``begin`` to ``end - 1``.

    They read rows ``top`` to ``bottom - 1`` of the input.
    """

    begin: int
    end: int
    top: int
    bottom: int


def bands(w: Window, rows: int) -> Iterator[Band]:
    """The output of ``w``, ``rows`` at a time."""
    for begin in range(0, w.out_height, rows):
        end = min(begin + rows, w.out_height)
        top = max(begin * w.stride_y - w.pad_top, 0)
        bottom = min((end - 1) * w.stride_y - w.pad_top + w.span_y, w.in_height)
        yield Band(begin, end, top, bottom)


def trail_of_bands(first: Window, second: Sequence[Band], in_bytes: int, out_row: int) -> int:
    """``most`` in bytes for two layers in turn: ``first`` makes the rows that ``second`` reads.

    What a band writes must lie at or below what ``first`` reads for the bands after it.

    Args:
        first: geometry of the layer that makes the rows.
        second: bands of the other layer.
        in_bytes: size of an input element of ``first``.
        out_row: bytes of an output row of the other layer.
    """
    lowest = _lowest_by_row(first)
    # After the last row is made the whole input is free.
    limits = [
        lowest[band.bottom] * in_bytes - band.end * out_row
        for band in second
        if band.bottom < first.out_height
    ]
    return min(limits, default=first.in_height * first.in_row * in_bytes)


@cache
def _lowest_by_row(w: Window) -> tuple[int, ...]:
    """For each row of the output the lowest input element that it or a later one reads."""
    rows = [
        min(lowest_input(w, y * w.out_width + x) for x in range(w.out_width))
        for y in range(w.out_height)
    ]
    return tuple(accumulate(reversed(rows), min))[::-1]
