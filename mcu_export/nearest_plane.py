"""Rounding to integers such that errors cancel in the sums made of them: a lattice problem.

Numbers only; :mod:`mcu_export.rounding` and :mod:`mcu_export.affine_rounding` bring the layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcu_export.ops import Array

BLOCK = 64
# Added to the diagonal of the inputs' products, relative to its mean: few samples leave directions
# in which nothing was seen, and no error may be hidden there.
DAMPING = 0.01


def damped(products: Array, variance: float, damping: float = DAMPING) -> Array:
    """Mean products of the inputs of the taps, made safe to factor; see :data:`DAMPING`.

    Args:
        products: (taps, taps).
        variance: of all taps together.
        damping: what is added, relative to the mean variance of a tap.
    """
    level = max(variance / len(products), 0.0)
    return products + np.eye(len(products)) * (damping * level + 1e-9)


@dataclass(frozen=True, eq=False)
class Products:
    """Means of the inputs of a part (taps) and of their products (taps, taps), float64.

    ``one`` is the input that the bias is the weight of.
    """

    mean: Array
    products: Array
    one: float

    @staticmethod
    def of(rows: Array, one: float) -> Products:
        """From what was seen."""
        mean = rows.mean(axis=0, dtype=np.float64)
        return Products(mean, (rows.T @ rows).astype(np.float64) / len(rows), one)

    def damped(self, damping: float) -> Array:
        """Products of all inputs, that of the bias first, safe to factor."""
        variance = float(np.trace(self.products) - self.mean @ self.mean)
        products = damped(self.products, variance, damping)
        corner, side = np.array([[self.one * self.one]]), self.one * self.mean
        return np.block([[corner, side[None, :]], [side[:, None], products]])


def _factor(products: Array) -> Array:
    """The upper triangular ``r`` with ``r @ r.T == products``: Cholesky's, from the last tap on.

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
    """Integers near ``weights`` (out, taps) with a small ``error @ products @ error.T``.

    With ``products = r @ r.T`` that is the length of ``error @ r``, whose element k depends on the
    errors of the taps up to k: each tap in turn takes the integer that brings it nearest to zero
    (Babai 1986, "nearest plane"; the same integers as those of GPTQ, without an inverse).

    Args:
        weights: in units of their step.
        products: mean products of the inputs of the taps (taps, taps); positive definite.
        low, high: limits of the integers of each tap.
        order: of the taps; errors of the first can be spread over all others.
    """
    wanted, low, high = weights[:, order], low[order], high[order]
    factor = _factor(products[np.ix_(order, order)])
    spread = factor / np.diag(factor)
    rounded, errors, before = (np.zeros_like(wanted) for _ in range(3))
    taps_count = wanted.shape[1]
    for start in range(0, taps_count, BLOCK):
        # Within a block an error spreads at once; over all later blocks in one matrix product.
        stop = min(start + BLOCK, taps_count)
        for tap in range(start, stop):
            nearest = np.floor(wanted[:, tap] - before[:, tap] + 0.5)
            rounded[:, tap] = np.clip(nearest, low[tap], high[tap])
            errors[:, tap] = rounded[:, tap] - wanted[:, tap]
            before[:, tap + 1 : stop] += np.outer(errors[:, tap], spread[tap, tap + 1 : stop])
        before[:, stop:] += errors[:, start:stop] @ spread[start:stop, stop:]
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result
