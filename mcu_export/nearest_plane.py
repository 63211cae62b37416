"""Rounding to integers such that errors cancel in the sums made of them: a lattice problem.

Numbers only; :mod:`mcu_export.rounding` and :mod:`mcu_export.affine_rounding` bring the layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.ops import Array

BLOCK = 64
# Added to the diagonal of the inputs' products, relative to its mean: few rows leave directions in
# which nothing was seen, and no error may be hidden there. The fewer rows there are for each tap,
# the more (after Ledoit and Wolf 2004, "A well-conditioned estimator").
DAMPING, DAMPING_OF_FEW = 0.01, 0.1


def usual_damping(taps_count: int, rows_count: int) -> float:
    """For products of so many taps, seen in so many rows; see :data:`DAMPING`."""
    return DAMPING + DAMPING_OF_FEW * min(1.0, taps_count / rows_count)


def damped(products: Array, variance: Array, damping: float) -> Array:
    """Mean products of the inputs of the taps, made safe to factor; see :data:`DAMPING`.

    Args:
        products: (parts, taps, taps).
        variance: of all taps of a part together (parts).
        damping: what is added, relative to the mean variance of a tap.
    """
    taps_count = products.shape[-1]
    level = damping * np.maximum(variance / taps_count, 0.0) + 1e-9
    safe: Array = products + np.eye(taps_count) * level[:, None, None]
    return safe


def diagonals(products: Array) -> Array:
    """Mean squares of the inputs (parts, taps)."""
    found: Array = np.diagonal(products, axis1=1, axis2=2)
    return found


@dataclass(frozen=True, eq=False)
class Products:
    """Means of the inputs of each part (parts, taps) and of their products (parts, taps, taps).

    Both in float64. ``one`` is the input that the bias is the weight of.
    """

    mean: Array
    products: Array
    one: float

    @staticmethod
    def of(rows: Array, one: float) -> Products:
        """From what was seen: (parts, rows, taps)."""
        mean = rows.mean(axis=1, dtype=np.float64)
        products = (rows.transpose(0, 2, 1) @ rows).astype(np.float64) / rows.shape[1]
        return Products(mean, products, one)

    def damped(self, damping: float) -> Array:
        """Products of all inputs, that of the bias first, safe to factor."""
        variance = diagonals(self.products).sum(axis=1) - np.square(self.mean).sum(axis=1)
        parts, taps_count = self.mean.shape
        both = np.empty((parts, taps_count + 1, taps_count + 1))
        both[:, 0, 0] = self.one * self.one
        both[:, 0, 1:] = both[:, 1:, 0] = self.one * self.mean
        both[:, 1:, 1:] = damped(self.products, variance, damping)
        return both


def _factors(products: Array) -> Array:
    """For each part the upper triangular ``r`` with ``r @ r.T == products``."""
    try:
        factors: Array = np.linalg.cholesky(products[:, ::-1, ::-1])
    except np.linalg.LinAlgError:
        return np.stack([_factor(one) for one in products])
    return factors[:, ::-1, ::-1]


def _factor(products: Array) -> Array:
    """That of one part: Cholesky's, from the last tap on.

    Inputs that depend on each other make the matrix singular in all but name. It then gets a ridge,
    ten times as large each time, which spreads errors less.
    """
    eye, ridge = np.eye(len(products)), 0.0
    scale = float(np.trace(products)) / len(products) or 1.0
    while True:
        try:
            factor: Array = np.linalg.cholesky((products + ridge * scale * eye)[::-1, ::-1])
            return factor[::-1, ::-1]
        except np.linalg.LinAlgError:
            if ridge > 1:
                raise
            ridge = 10 * ridge or 1e-8


def round_compensated(
    weights: Array, products: Array, low: Array, high: Array, order: Array
) -> Array:
    """Integers near ``weights`` (parts, out, taps) with a small ``error @ products @ error.T``.

    With ``products = r @ r.T`` that is the length of ``error @ r``, whose element k depends on the
    errors of the taps up to k: each tap in turn takes the integer that brings it nearest to zero
    (Babai 1986, "nearest plane"; the same integers as those of GPTQ, without an inverse).

    Args:
        weights: in units of their step.
        products: mean products of the inputs of the taps (parts, taps, taps); positive definite.
        low, high: limits of the integers of each tap.
        order: of the taps (parts, taps); errors of the first can be spread over all others.
    """
    part = np.arange(len(order))[:, None, None]
    wanted = np.take_along_axis(weights, order[:, None, :], axis=2)
    low, high = low[order], high[order]
    spread = _factors(products[part, order[:, :, None], order[:, None, :]])
    spread = spread / diagonals(spread)[:, None, :]
    rounded, errors, before = (np.zeros_like(wanted) for _ in range(3))
    taps_count = wanted.shape[2]
    for start in range(0, taps_count, BLOCK):
        # Within a block an error spreads at once; over all later blocks in one matrix product.
        stop = min(start + BLOCK, taps_count)
        for tap in range(start, stop):
            nearest = np.floor(wanted[:, :, tap] - before[:, :, tap] + 0.5)
            rounded[:, :, tap] = np.clip(nearest, low[:, tap, None], high[:, tap, None])
            errors[:, :, tap] = rounded[:, :, tap] - wanted[:, :, tap]
            spreading = spread[:, tap, None, tap + 1 : stop]
            before[:, :, tap + 1 : stop] += errors[:, :, tap, None] * spreading
        before[:, :, stop:] += errors[:, :, start:stop] @ spread[:, start:stop, stop:]
    result = np.empty_like(rounded)
    np.put_along_axis(result, order[:, None, :], rounded, axis=2)
    return result
