"""The contracts of the legacy convolutions against their formula in numpy, and their poison."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest

from tests.contract.calling import (
    ARGUMENT_ERROR,
    POISON,
    SIZE_MISMATCH,
    SUCCESS,
    TYPES,
    Array,
    Pair,
    call,
    draw,
    finish,
)


@dataclass(frozen=True)
class Conv:
    """A convolution; pairs are (y, x)."""

    function: str
    image: tuple[int, int, int]
    out: tuple[int, int, int]
    window: Pair
    padding: Pair = (0, 0)
    strides: Pair = (1, 1)
    bias_shift: int = 3
    out_shift: int = 9
    status: int = SUCCESS

    @property
    def bits(self) -> int:
        return 16 if "q15" in self.function else 8

    @property
    def depthwise(self) -> bool:
        return "depthwise" in self.function

    @property
    def square(self) -> bool:
        return "nonsquare" not in self.function

    def scratch_elements(self) -> int:
        windows = 1 if self.function.endswith("q15_basic") else 2
        return windows * self.window[0] * self.window[1] * self.image[2]

    def formula(self, image: Array, weights: Array, bias: Array) -> Array:
        """One multiplication after the other, over a padded copy of the image."""
        room = max(*self.out, *self.image) + 2 * max(self.window) + max(self.padding)
        room *= max(self.strides)
        padded = np.zeros((room, room, self.image[2]), np.int64)
        top, left = self.padding
        padded[top : top + self.image[0], left : left + self.image[1]] = image
        acc = np.zeros(self.out, np.int64)
        for y, x in np.ndindex(self.out[:2]):
            row, column = y * self.strides[0], x * self.strides[1]
            seen = padded[row : row + self.window[0], column : column + self.window[1]]
            taken = seen * weights if self.depthwise else seen[None] * weights
            acc[y, x] = taken.sum((0, 1) if self.depthwise else (1, 2, 3))
        return finish(acc, bias, self.bits, self.bias_shift, self.out_shift)

    def run(self, kernels: ctypes.CDLL) -> tuple[int, Array, Array, Array]:
        """Status, output, what it should be, scratch."""
        image = draw(1, self.bits, *self.image)
        guarded = np.append(image.ravel(), image.dtype.type(0))  # RGB reads one byte behind
        taps = (*self.window, self.image[2])
        weights = draw(2, self.bits, *(taps if self.depthwise else (self.out[2], *taps)))
        bias = draw(3, self.bits, self.out[2])
        output = np.zeros(self.out, TYPES[self.bits])
        scratch = np.zeros(self.scratch_elements(), np.int16)

        def sizes(pair: Pair) -> tuple[int, ...]:
            return pair[1:] if self.square else pair[::-1]

        status = call(
            kernels,
            self.function,
            guarded,
            *sizes(self.image[:2]),
            self.image[2],
            weights,
            self.out[2],
            *sizes(self.window),
            *sizes(self.padding),
            *sizes(self.strides),
            bias,
            self.bias_shift,
            self.out_shift,
            output,
            *sizes(self.out[:2]),
            scratch,
            None,
        )
        return status, output, self.formula(image.astype(np.int64), weights, bias), scratch


Q7, Q15 = "arm_convolve_HWC_q7", "arm_convolve_HWC_q15"
DEPTHWISE = "arm_depthwise_separable_conv_HWC_q7"
POINTWISE = "arm_convolve_1x1_HWC_q7_fast_nonsquare"
CONVS = (
    Conv(f"{Q7}_basic", (5, 5, 3), (5, 5, 2), (3, 3), (1, 1)),
    Conv(f"{Q7}_basic", (6, 6, 1), (3, 3, 3), (3, 3), (0, 0), (2, 2), out_shift=0, bias_shift=0),
    Conv(f"{Q7}_basic_nonsquare", (7, 4, 5), (3, 4, 3), (4, 2), (1, 0), (2, 1)),
    Conv(f"{Q7}_RGB", (4, 4, 3), (4, 4, 5), (3, 3), (1, 1)),
    Conv(f"{Q7}_fast", (5, 5, 4), (5, 5, 2), (3, 3), (1, 1)),
    Conv(f"{Q7}_fast", (6, 6, 8), (3, 3, 4), (3, 3), (1, 1), (2, 2)),
    Conv(f"{Q7}_fast_nonsquare", (5, 7, 4), (5, 3, 6), (3, 5), (1, 2), (1, 3)),
    Conv(POINTWISE, (3, 5, 8), (3, 5, 2), (1, 1)),
    Conv(f"{Q15}_basic", (5, 5, 3), (5, 5, 2), (3, 3), (1, 1), out_shift=12),
    Conv(f"{Q15}_fast", (6, 6, 2), (6, 6, 4), (3, 3), (1, 1), out_shift=12),
    Conv(f"{Q15}_fast_nonsquare", (5, 4, 4), (3, 4, 2), (3, 1), (0, 0), (1, 1), out_shift=11),
    Conv(DEPTHWISE, (5, 5, 3), (5, 5, 3), (3, 3), (1, 1), out_shift=7),
    Conv(f"{DEPTHWISE}_nonsquare", (6, 5, 4), (3, 5, 4), (3, 2), (0, 1), (2, 1), out_shift=6),
)
REFUSED = (
    Conv(f"{Q7}_RGB", (4, 4, 4), (4, 4, 2), (3, 3), (1, 1), status=SIZE_MISMATCH),
    Conv(f"{Q7}_fast", (4, 4, 6), (4, 4, 2), (3, 3), (1, 1), status=SIZE_MISMATCH),
    Conv(f"{Q7}_fast", (4, 4, 4), (4, 4, 3), (3, 3), (1, 1), status=SIZE_MISMATCH),
    # TensorFlow's SAME with stride 2: the last window reaches beyond the image.
    Conv(f"{Q7}_fast", (6, 6, 4), (3, 3, 2), (3, 3), (0, 0), (2, 2), status=ARGUMENT_ERROR),
    Conv(
        f"{Q7}_fast_nonsquare", (6, 5, 4), (3, 3, 2), (3, 3), (0, 1), (2, 2), status=ARGUMENT_ERROR
    ),
    Conv(f"{Q7}_fast", (2, 2, 4), (1, 1, 2), (5, 5), (2, 2), (2, 2), status=ARGUMENT_ERROR),
    Conv(POINTWISE, (4, 4, 4), (2, 2, 2), (1, 1), (0, 0), (2, 2), status=SIZE_MISMATCH),
    Conv(f"{Q15}_fast", (5, 5, 2), (5, 5, 2), (3, 3), (1, 1), status=SIZE_MISMATCH),
    Conv(f"{Q15}_fast_nonsquare", (4, 5, 2), (4, 5, 2), (3, 3), (1, 1), status=ARGUMENT_ERROR),
    Conv(f"{Q15}_fast", (4, 4, 3), (4, 4, 2), (3, 3), (1, 1), status=SIZE_MISMATCH),
    Conv(f"{Q7}_basic", (4, 4, 1), (4, 4, 1), (3, 3), (1, 1), out_shift=31, status=ARGUMENT_ERROR),
    Conv(f"{Q7}_basic", (4, 4, 1), (4, 4, 1), (3, 3), (1, 1), bias_shift=32, status=ARGUMENT_ERROR),
)


@pytest.mark.parametrize("case", CONVS, ids=lambda c: f"{c.function} {c.image} {c.strides}")
def test_convolution(case: Conv, kernels: ctypes.CDLL) -> None:
    status, output, wanted, scratch = case.run(kernels)
    assert status == SUCCESS
    np.testing.assert_array_equal(output, wanted)
    assert len(np.unique(wanted)) > 1
    assert (scratch == POISON[16]).all()


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: f"{c.function} {c.image} {c.strides}")
def test_refused_convolution(case: Conv, kernels: ctypes.CDLL) -> None:
    status, output, _, _ = case.run(kernels)
    assert status == case.status
    assert not output.any()
