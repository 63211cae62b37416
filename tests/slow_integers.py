"""Each layer in loops over Python's integers, as section 3 of the design states it.

Written from the text, without numpy arithmetic, and slow: the oracle of ``reference.py``.
Images are nested lists [row][column][channel].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Image = list[list[list[int]]]
INT32 = range(-(2**31), 2**31)


def fits(value: int) -> int:
    """The value itself, which a 32-bit accumulator must hold."""
    assert value in INT32, f"{value} does not fit the accumulator"
    return value


def saturate(value: int, low: int, high: int) -> int:
    return low if value < low else high if value > high else value


def rescale(acc: int, shift: int, low: int, high: int) -> int:
    """``saturate((acc + ((1 << shift) >> 1)) >> shift)``."""
    return saturate(fits(acc + ((1 << shift) >> 1)) >> shift, low, high)


def positions(image: Image, op: Any, kernel: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the output."""
    dilation = getattr(op, "dilation", (1, 1))
    pads = ((op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right))
    sizes = (len(image), len(image[0]))
    rows, columns = (
        (size + sum(pad) - ((k - 1) * d + 1)) // stride + 1
        for size, pad, k, d, stride in zip(sizes, pads, kernel, dilation, op.strides, strict=True)
    )
    return rows, columns


def window(
    image: Image, op: Any, kernel: tuple[int, int], row: int, column: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Tap row, tap column and pixel, for the taps that lie inside the image."""
    dilation = getattr(op, "dilation", (1, 1))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            y = row * op.strides[0] + i * dilation[0] - op.padding.top
            x = column * op.strides[1] + j * dilation[1] - op.padding.left
            if 0 <= y < len(image) and 0 <= x < len(image[0]):
                yield i, j, image[y][x]


def each_window(
    image: Image, op: Any, kernel: tuple[int, int], pixel: Callable[[list[Any]], list[int]]
) -> Image:
    """``pixel`` of the taps of every window."""
    rows, columns = positions(image, op, kernel)
    return [
        [pixel(list(window(image, op, kernel, y, x))) for x in range(columns)] for y in range(rows)
    ]


def conv2d(image: Image, op: Any, a: Any, weights: list, bias: list[int]) -> Image:
    """Weights [out][row][column][in]."""

    def pixel(taps: list[Any]) -> list[int]:
        out = []
        for filter_, b in zip(weights, bias, strict=True):
            acc = fits(b << a.bias_shift)
            for i, j, values in taps:
                for w, x in zip(filter_[i][j], values, strict=True):
                    acc = fits(acc + w * x)
            out.append(rescale(acc, a.out_shift, a.low, a.high))
        return out

    return each_window(image, op, (len(weights[0]), len(weights[0][0])), pixel)


def depthwise(image: Image, op: Any, a: Any, weights: list, bias: list[int]) -> Image:
    """Weights [row][column][out]; output channel c reads input channel c // multiplier."""
    multiplier = len(bias) // len(image[0][0])

    def pixel(taps: list[Any]) -> list[int]:
        out = []
        for c, b in enumerate(bias):
            acc = fits(b << a.bias_shift)
            for i, j, values in taps:
                acc = fits(acc + weights[i][j][c] * values[c // multiplier])
            out.append(rescale(acc, a.out_shift, a.low, a.high))
        return out

    return each_window(image, op, (len(weights), len(weights[0])), pixel)


def dense(row: list[int], a: Any, weights: list[list[int]], bias: list[int]) -> list[int]:
    """Weights [out][in]."""
    out = []
    for line, b in zip(weights, bias, strict=True):
        acc = fits(b << a.bias_shift)
        for w, x in zip(line, row, strict=True):
            acc = fits(acc + w * x)
        out.append(rescale(acc, a.out_shift, a.low, a.high))
    return out


def add(first: list[int], second: list[int], a: Any) -> list[int]:
    def aligned(x: int, shift: int) -> int:
        return x << shift if shift >= 0 else (x + (1 << (-shift - 1))) >> -shift

    return [
        rescale(fits(aligned(x, a.shifts[0]) + aligned(y, a.shifts[1])), a.out_shift, a.low, a.high)
        for x, y in zip(first, second, strict=True)
    ]


def average_pool(image: Image, op: Any, a: Any) -> Image:
    """Padding does not count; halves away from zero."""

    def pixel(taps: list[Any]) -> list[int]:
        out = []
        for c in range(len(image[0][0])):
            total = fits(sum(values[c] for *_, values in taps) * 2 ** max(a.shift, 0))
            count = fits(len(taps) * 2 ** max(-a.shift, 0))
            magnitude = fits(abs(total) * 2 + count) // (2 * count)
            out.append(saturate(magnitude if total >= 0 else -magnitude, a.low, a.high))
        return out

    return each_window(image, op, op.kernel, pixel)


def max_pool(image: Image, op: Any, a: Any) -> Image:
    def pixel(taps: list[Any]) -> list[int]:
        channels = range(len(image[0][0]))
        return [saturate(max(values[c] for *_, values in taps), a.low, a.high) for c in channels]

    return each_window(image, op, op.kernel, pixel)


def pad(image: Image, op: Any) -> Image:
    p, width, zero = op.padding, len(image[0]), [0] * len(image[0][0])
    empty = [zero] * (p.left + width + p.right)
    middle = [[zero] * p.left + row + [zero] * p.right for row in image]
    return [empty] * p.top + middle + [empty] * p.bottom


def softmax(row: list[int], a: Any) -> list[int]:
    def power(below: int) -> int:
        if not a.fine:
            return a.table[below] if below < len(a.table) else 0
        i, j = divmod(below, 256)
        if i >= len(a.table) or j >= len(a.fine):
            return 0
        return (a.table[i] * a.fine[j]) >> 15

    powers = [power(max(row) - x) for x in row]
    total = sum(powers)
    return [min(((e << a.frac_bits) + total // 2) // total, a.high) for e in powers]
