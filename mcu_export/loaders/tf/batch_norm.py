"""Recognizes a batch norm in the constants of ``x * scale + offset``.

TensorFlow's ``tf.nn.batch_normalization`` computes, of constants, ``scale = rsqrt(variance +
epsilon) * gamma`` and ``offset = beta - mean * scale``. The four are wanted apart, because epsilon
may be replaced and reports show gamma.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcu_export.loaders.tf.values import Affine, Known

_SUMS = ("Add", "AddV2")
_QUOTIENTS = ("RealDiv", "Div")
_MAX_FACTORS = 16


def batch_norm_of(affine: Affine) -> tuple[float | None, dict[str, Known]]:
    """Epsilon and the parameters of the BatchNorm that is the affine step.

    Epsilon is None where the constants do not show one; then the variance is 1.
    """
    vectors = [k.array for k in (affine.before, affine.scale, affine.after) if k is not None]
    channels = vectors[0].size
    epsilon, variance, gamma = _split_scale(affine.scale, channels)
    mean = beta = Known(np.zeros(channels, np.float32))
    if affine.before is not None:
        mean = _negative(affine.before)
    if affine.after is not None:
        beta = affine.after
        if affine.before is None and affine.scale is not None:
            mean, beta = _split_offset(affine.after, affine.scale)
    return epsilon, {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}


def _split_scale(scale: Known | None, channels: int) -> tuple[float | None, Known, Known]:
    """Epsilon, variance and gamma of ``gamma * rsqrt(variance + epsilon)``."""
    ones = Known(np.ones(channels, np.float32))
    if scale is None:
        return None, ones, ones
    factors = _factors(scale)
    for index, factor in enumerate(factors):
        parts = _variance_and_epsilon(factor)
        if parts is None or parts[0].array.size not in (1, channels):
            continue
        others = factors[:index] + factors[index + 1 :]
        gamma = others[0] if len(others) == 1 else ones
        for other in others if len(others) > 1 else ():
            gamma = Known(gamma.array * other.array.reshape(-1))
        return parts[1], _spread(parts[0], channels), _spread(gamma, channels)
    return None, ones, scale


def _split_offset(offset: Known, scale: Known) -> tuple[Known, Known]:
    """Mean and beta of ``beta - mean * scale``; mean 0 where the offset is no such thing."""
    zeros = Known(np.zeros_like(offset.array))
    if offset.op == "Sub":
        mean = _factor_beside(offset.args[1], scale)
        beta = _spread(offset.args[0], offset.array.size)
    elif offset.op == "Neg":
        mean, beta = _factor_beside(offset.args[0], scale), zeros
    else:
        negative = _factor_beside(offset, scale)
        mean, beta = None if negative is None else _negative(negative), zeros
    return (zeros, offset) if mean is None else (mean, beta)


def _factor_beside(product: Known, scale: Known) -> Known | None:
    """The other factor where ``scale`` is one of two."""
    if product.op != "Mul":
        return None
    for one, other in (product.args, product.args[::-1]):
        if one.array.size == scale.array.size and _equal(other, scale):
            return replace(one, array=one.array.reshape(-1))
    return None


def _negative(known: Known) -> Known:
    """The constant with the other sign; twice is once the constant itself."""
    if known.op == "Neg":
        return replace(known.args[0], array=-known.array)
    return Known(-known.array, "Neg", (known,))


def _spread(known: Known, channels: int) -> Known:
    return replace(known, array=np.broadcast_to(known.array.reshape(-1), (channels,)))


def _factors(product: Known) -> list[Known]:
    """What a product is the product of, divisors as reciprocals."""
    factors: list[Known] = []
    pending = [product]
    while pending:
        known = pending.pop()
        if len(factors) + len(pending) > _MAX_FACTORS:
            return [product]
        if known.op == "Mul":
            pending += known.args
        elif known.op in _QUOTIENTS:
            numerator, divisor = known.args
            pending.append(numerator)
            with np.errstate(all="ignore"):
                factors.append(Known(1 / divisor.array, "Reciprocal", (divisor,)))
        else:
            factors.append(known)
    return factors


def _variance_and_epsilon(factor: Known) -> tuple[Known, float] | None:
    """The parts of ``rsqrt(variance + epsilon)`` or ``1 / sqrt(variance + epsilon)``."""
    if factor.op == "Reciprocal" and factor.args[0].op == "Sqrt":
        factor = factor.args[0]
    elif factor.op != "Rsqrt":
        return None
    total = factor.args[0]
    if total.op not in _SUMS:
        return None
    variance, epsilon = total.args
    if epsilon.array.size != 1:
        variance, epsilon = epsilon, variance
    if epsilon.array.size != 1 or epsilon.array.item() < 0:
        return None
    return variance, float(str(np.float32(epsilon.array.item())))


def _equal(one: Known, other: Known) -> bool:
    return np.array_equal(one.array.reshape(-1), other.array.reshape(-1))
