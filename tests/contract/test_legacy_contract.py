"""The contracts of dense layers, pooling and activations against numpy, and their poison."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.contract.calling import POISON, SUCCESS, TYPES, WARNINGS, Array, Pair, call, draw, finish
from tests.kernels import LEGACY


@pytest.mark.parametrize("language", ["c99", "c++11"])
def test_the_contracts_have_no_warnings(language: str) -> None:
    compiler = "clang" if language == "c99" else "clang++"
    header_only = [f"-include{LEGACY / 'arm_nnfunctions.h'}", "-x", "c++", "/dev/null"]
    sources = header_only if language == "c++11" else sorted(map(str, LEGACY.glob("*.c")))
    subprocess.run([compiler, f"-std={language}", *WARNINGS, "-fsyntax-only", *sources], check=True)


# Rows a to d and columns 1 to 4 in the order in which the functions read them.
ORDERS = {
    "q7_opt": "a1 b1 a3 b3 c1 d1 c3 d3 a2 b2 a4 b4 c2 d2 c4 d4",
    "q15_opt": "a1 a2 b1 b2 c1 c2 d1 d2",
    "mat_q7_vec_q15_opt": "a1 b1 a2 b2 c1 d1 c2 d2",
}


def stored(weights: Array, order: str) -> Array:
    """Weights (row, column) in the order of a function, element by element."""
    rows, columns = weights.shape
    block = [("abcd".index(name[0]), int(name[1]) - 1) for name in order.split()]
    step = len(block) // 4 if block else 1
    flat: list[int] = []
    for first in range(0, rows - rows % 4 if block else 0, 4):
        for start in range(0, columns - columns % step, step):
            flat += [weights[first + row, start + column] for row, column in block]
        for column in range(columns - columns % step, columns):
            flat += list(weights[first : first + 4, column])
    flat += list(weights[rows - rows % 4 if block else 0 :].ravel())
    return np.array(flat, weights.dtype)


@pytest.mark.parametrize("sizes", [(8, 12), (7, 11), (3, 5), (4, 1)])
@pytest.mark.parametrize(
    "name", ["q7", "q15", "mat_q7_vec_q15", "q7_opt", "q15_opt", "mat_q7_vec_q15_opt"]
)
def test_dense(name: str, sizes: Pair, kernels: ctypes.CDLL) -> None:
    rows, columns = sizes
    vector_bits = 8 if name in ("q7", "q7_opt") else 16
    matrix_bits = 8 if "q7" in name else 16
    vector = draw(4, vector_bits, columns)
    weights, bias = draw(5, matrix_bits, rows, columns), draw(6, matrix_bits, rows)
    output = np.zeros(rows, TYPES[vector_bits])
    scratch = np.zeros(columns, np.int16) if vector_bits == 8 else None
    matrix = stored(weights, ORDERS.get(name, ""))
    function, fixed = f"arm_fully_connected_{name}", (columns, rows, 2, 8)
    status = call(kernels, function, vector, matrix, *fixed, bias, output, scratch)
    acc = weights.astype(np.int64) @ vector.astype(np.int64)
    assert status == SUCCESS
    np.testing.assert_array_equal(output, finish(acc, bias, vector_bits, 2, 8))
    assert scratch is None or (scratch == POISON[16]).all()


def pooled(
    image: Array, window: int, padding: int, stride: int, out: int, *, largest: bool
) -> Array:
    """Every window by itself, cut off at the border of the image."""
    result = np.zeros((out, out, image.shape[2]), np.int64)
    for y, x in np.ndindex(out, out):
        top, left = y * stride - padding, x * stride - padding
        seen = image[max(top, 0) : top + window, max(left, 0) : left + window].astype(np.int64)
        count = seen.shape[0] * seen.shape[1]
        total = seen.sum((0, 1))
        result[y, x] = seen.max((0, 1)) if largest else np.sign(total) * (abs(total) // count)
    return result


@pytest.mark.parametrize("kind", ["max", "ave"])
@pytest.mark.parametrize(
    "sizes", [(6, 2, 0, 2, 3), (7, 3, 1, 2, 4), (6, 3, 0, 2, 3), (3, 5, 1, 1, 1)]
)
def test_pooling(kind: str, sizes: tuple[int, ...], kernels: ctypes.CDLL) -> None:
    size, window, padding, stride, out = sizes
    image, output = draw(7, 8, size, size, 3), np.zeros((out, out, 3), np.int8)
    wanted = pooled(image, window, padding, stride, out, largest=kind == "max")
    scratch = np.zeros(2 * out * 3, np.int8)
    arguments = (size, 3, window, padding, stride, out)
    call(kernels, f"arm_{kind}pool_q7_HWC", image, *arguments, scratch, output)
    np.testing.assert_array_equal(output, wanted)
    assert (image == POISON[8]).all()
    assert kind == "max" or (scratch == POISON[8]).all()


@pytest.mark.parametrize("sizes", [(5, 3, 1, 1, 5), (4, 1, 1, 2, 2), (4, 2, 0, 3, 3)])
def test_pooling_that_one_path_computes_wrong(sizes: tuple[int, ...], kernels: ctypes.CDLL) -> None:
    size, window, padding, stride, out = sizes
    image, output = draw(8, 8, size, size, 2), np.zeros((out, out, 2), np.int8)
    arguments = (size, 2, window, padding, stride, out)
    call(kernels, "arm_maxpool_q7_HWC", image, *arguments, None, output)
    assert (output == POISON[8]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_relu(bits: int, kernels: ctypes.CDLL) -> None:
    data = draw(9, bits, 101)
    wanted = np.maximum(data, 0)
    call(kernels, f"arm_relu_q{bits - 1}", data, 101)
    np.testing.assert_array_equal(data, wanted)


CURVES: dict[int, Callable[[Array], Array]] = {0: lambda x: 1 / (1 + np.exp(-x)), 1: np.tanh}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("int_width", [0, 2, 3])
def test_curve_of_q7(curve: int, int_width: int, kernels: ctypes.CDLL) -> None:
    data = np.arange(-128, 128).astype(np.int8)
    # The input loses the bits below a sixteenth.
    x = np.floor(data * 2.0 ** (int_width - 7) * 16) / 16
    wanted = np.clip(np.floor(CURVES[curve](x) * 128 + 0.5), -128, 127)
    call(kernels, "arm_nn_activations_direct_q7", data, 256, int_width, curve)
    np.testing.assert_array_equal(data, wanted)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("int_width", [0, 2, 3])
def test_curve_of_q15(curve: int, int_width: int, kernels: ctypes.CDLL) -> None:
    data = np.arange(-(2**15), 2**15, 7).astype(np.int16)
    x = np.minimum(data * 2.0 ** (int_width - 15), 7.9375)
    wanted = CURVES[curve](x) * 2.0**15
    count = len(data)
    call(kernels, "arm_nn_activations_direct_q15", data, count, int_width, curve)
    # Linear between points a sixteenth apart: off by at most y'' / 8 * (1/16)^2 and rounding.
    assert np.abs(data - wanted).max() <= 2.0**15 * 0.77 / 8 / 256 + 2


def test_softmax_has_base_2(kernels: ctypes.CDLL) -> None:
    data, output = np.array([3, 5, -100, 4], np.int8), np.zeros(4, np.int8)
    call(kernels, "arm_softmax_q7", data, 4, output)
    # The largest is 8 above the base; it and its next count 2^7, the others 2^(x - base).
    one = 2**20 // (2**6 + 2**7 + 2**7 + 2**0)
    assert output.tolist() == [one >> 7, one >> 5, 0, one >> 6]
    wide, out16 = data.astype(np.int16), np.zeros(4, np.int16)
    call(kernels, "arm_softmax_q15", wide, 4, out16)
    exact = np.exp2([3.0, 5.0, -100.0, 4.0]) / np.exp2([3.0, 5.0, 4.0]).sum()
    np.testing.assert_allclose(out16 / 2**15, exact, atol=2**-13)
    batch, out = np.tile(data, 2), np.zeros(8, np.int8)
    call(kernels, "arm_softmax_with_batch_q7", batch, 2, 4, out)
    assert out.tolist() == output.tolist() * 2


@pytest.mark.parametrize("elements", [17, 18])
def test_asan_finds_scratch_that_is_too_small(elements: int, tmp_path: Path) -> None:
    program = tmp_path / "main.c"
    program.write_text(
        f"""#include "arm_nnfunctions.h"
int main(void)
{{
    static q7_t in[9], wt[9], bias[1], out[1];
    q15_t scratch[{elements}];
    return arm_convolve_HWC_q7_basic(in, 3, 1, wt, 1, 3, 0, 1, bias, 0, 0, out, 1, scratch, 0);
}}
"""
    )
    made = tmp_path / "main"
    options = ["-std=c99", "-fsanitize=address", f"-I{LEGACY}", str(LEGACY / "convolve.c")]
    subprocess.run(["gcc", *options, str(program), "-o", str(made)], check=True)
    done = subprocess.run([str(made)], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (elements == 18)
    assert elements == 18 or "stack-buffer-overflow" in done.stderr
