"""Dropout left in a graph: its random mask is all ones where nothing is dropped.

``tf.nn.dropout`` of early TensorFlow is ``x / keep * floor(keep + uniform)``, later
``x / (1 - rate) * (uniform >= rate)``, and ``where(uniform >= rate, x / (1 - rate), 0)`` in
TensorFlow 2. With keep 1 or rate 0 all of them are x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mcu_export.loaders.tf.nodes import TfNode
from mcu_export.loaders.tf.values import Known, Noise, Result, as_known, unsupported


def _number(node: TfNode, result: Result) -> float:
    array = as_known(node, result).array
    if array.size != 1:
        raise unsupported(node, "random numbers meet a constant that is not one number")
    return float(array.item())


def _shift(node: TfNode, noise: Noise, other: Result) -> Result:
    by = _number(node, other)
    return Noise(noise.low + by, noise.high + by)


def _unshift(node: TfNode, noise: Noise, other: Result) -> Result:
    by = _number(node, other)
    return Noise(noise.low - by, noise.high - by)


def _scale(node: TfNode, noise: Noise, other: Result) -> Result:
    by = _number(node, other)
    return Noise(*sorted((noise.low * by, noise.high * by)))


def _at_least(node: TfNode, noise: Noise, other: Result) -> Result:
    limit = _number(node, other)
    return _certain(node, noise.low >= limit, noise.high <= limit)


def _certain(node: TfNode, always: bool, never: bool) -> Known:
    if not always and not never:
        raise unsupported(
            node,
            "random numbers decide what is computed: a dropout is active",
            "freeze the graph that was built for inference, with a keep probability of 1",
        )
    return Known(np.asarray(always))


_WITH_OTHER: dict[str, Callable[[TfNode, Noise, Result], Result]] = {
    "Add": _shift,
    "AddV2": _shift,
    "Sub": _unshift,
    "Mul": _scale,
    "GreaterEqual": _at_least,
}
_COMMUTATIVE = frozenset({"Add", "AddV2", "Mul"})


def apply_to_noise(node: TfNode, inputs: Sequence[Result]) -> Result:
    """The op applied to random numbers: other random numbers, or what is certain all the same.

    Raises:
        UnsupportedLayerError: the result is left to chance.
    """
    first = inputs[0]
    if node.op == "Floor" and isinstance(first, Noise):
        low, high = math.floor(first.low), math.ceil(first.high) - 1
        _certain(node, low == high, False)
        return Known(np.asarray(low, np.float32))
    if node.op in _WITH_OTHER and len(inputs) == 2:
        second = inputs[1]
        if node.op in _COMMUTATIVE and isinstance(second, Noise):
            first, second = second, first
        if isinstance(first, Noise):
            return _WITH_OTHER[node.op](node, first, second)
    raise unsupported(
        node,
        "random numbers reach the output",
        "freeze the graph that was built for inference, without dropout or noise",
    )
