"""Ops on each element alone: functions, and arithmetic of two tensors or a tensor and a constant.

Activations that TensorFlow writes out in several ops (swish, hard swish, leaky and trained ReLU)
are recognized, for one function keeps more bits than a product of two tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mcu_export.loaders.tf.importer import Handler, Importer
from mcu_export.loaders.tf.nodes import TfNode
from mcu_export.loaders.tf.values import Known, Result, Value, as_value, unsupported
from mcu_export.ops import (
    RELU,
    RELU6,
    Add,
    Array,
    BatchNorm,
    Clamp,
    ElementFunction,
    Elu,
    Exponential,
    HardSwish,
    LeakyRelu,
    Limits,
    Logistic,
    Maximum,
    Minimum,
    Mish,
    Multiply,
    Op,
    Plus,
    PRelu,
    Softplus,
    Softsign,
    Swish,
    Tanh,
)

# Klambauer et al. 2017, as TensorFlow's Selu has them.
SELU = Elu(alpha=1.6732632423543772, scale=1.0507009873554805)
FUNCTIONS: dict[str, Callable[[TfNode], ElementFunction]] = {
    "Sigmoid": lambda node: Logistic(),
    "Tanh": lambda node: Tanh(),
    "Elu": lambda node: Elu(),
    "Selu": lambda node: SELU,
    "Softplus": lambda node: Softplus(),
    "Softsign": lambda node: Softsign(),
    "Exp": lambda node: Exponential(),
    "LeakyRelu": lambda node: LeakyRelu(node.number("alpha", 0.2)),
}


def function(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """A function of each element."""
    return _apply(importer, node, as_value(node, inputs[0]), FUNCTIONS[node.op](node))


def _apply(importer: Importer, node: TfNode, value: Value, op: Op) -> Value:
    """``op`` on each element; it keeps the layout, whatever that is."""
    value = importer.settle(value)
    source = importer.channels_last(value, node)
    made = importer.emit(node, op, [source], value.shape)
    return replace(made, layout=value.layout)


def two_tensors(importer: Importer, node: TfNode, values: Sequence[Value], op: Op) -> Value:
    """``op`` on two tensors that broadcast; equal shapes for :class:`Add`."""
    full = [importer.shape(value, node) for value in values]
    if len(full[0]) != len(full[1]) or full[0][0] != 1 or full[1][0] != 1:
        raise unsupported(
            node,
            f"combines the shapes {full[0]} and {full[1]}",
            "give both as many axes, the batch first",
        )
    if isinstance(op, Add) and full[0] != full[1]:
        op = Plus()
    names = [importer.sample(value, node) for value in values]
    return importer.emit(node, op, names, tuple(np.broadcast_shapes(*full)))


def with_operand(importer: Importer, node: TfNode, value: Value, constant: Known, op: Op) -> Value:
    """``op`` on a tensor and a constant of any shape that broadcasts over the batch."""
    full = importer.shape(value, node)
    array = constant.array
    if array.ndim == len(full) and array.shape[0] == 1:
        array = array[0]
    if array.ndim >= len(full):
        raise unsupported(node, f"combines the shape {full} with a constant of {array.shape}")
    source = importer.sample(value, node)
    shape = (full[0], *np.broadcast_shapes(full[1:], array.shape))
    return importer.emit(node, op, [source], shape, operand=array)


def product(importer: Importer, node: TfNode, first: Value, second: Value) -> Value:
    """``first * second``; swish, hard swish and mish where it is one."""
    for x, gate in ((first, second), (second, first)):
        if x.affine is not None:
            continue
        if gate.affine is None and _is(importer, gate.source, Logistic, x.source):
            return _apply(importer, node, x, Swish())
        if gate.affine is None and _is(importer, gate.source, Tanh):
            inner = _input_of(importer, gate.source)
            if _is(importer, inner, Softplus, x.source):
                return _apply(importer, node, x, Mish())
        factor = _hard_gate(importer, x, gate)
        if factor is not None:
            made = _apply(importer, node, x, HardSwish())
            return made if factor == 1 else importer.scale_by(made, _number(factor), node)
    return two_tensors(importer, node, [first, second], Multiply())


def _hard_gate(importer: Importer, x: Value, gate: Value) -> float | None:
    """``f`` where the gate is ``relu6(x + 3) * f / 6``."""
    factor = 6.0
    if gate.affine is not None:
        scale = gate.affine.scale
        if gate.affine.before or gate.affine.after or scale is None or np.ptp(scale.array) != 0:
            return None
        factor *= float(scale.array.flat[0])
    clamp = importer.builder.made(gate.source)
    if clamp is None or clamp.op != Clamp(RELU6):
        return None
    slope = _slope(importer, clamp.inputs[0], x.source, 3.0)
    if slope is None or np.any(slope != 1):
        return None
    return 1.0 if np.isclose(factor, 1, rtol=1e-6) else factor


def total(importer: Importer, node: TfNode, first: Value, second: Value) -> Value:
    """``first + second``; a trained ReLU where it is ``relu(x) - alpha * relu(-x)``."""
    for positive, negative in ((first, second), (second, first)):
        alpha = _negative_slope(importer, positive, negative)
        if alpha is not None:
            source = _input_of(importer, positive.source)
            shape = importer.shape(positive, node)
            return importer.emit(node, PRelu(), [source], shape, alpha=alpha)
    return two_tensors(importer, node, [first, second], Add())


def _negative_slope(importer: Importer, positive: Value, negative: Value) -> Array | None:
    """Alpha, where one is ``relu(x)`` and the other ``-alpha * relu(-x)``."""
    if positive.affine or positive.layout or negative.layout or negative.affine is None:
        return None
    scale = negative.affine.scale
    if negative.affine.before or negative.affine.after or scale is None:
        return None
    if not _is_relu(importer, positive.source) or not _is_relu(importer, negative.source):
        return None
    source = _input_of(importer, positive.source)
    slope = _slope(importer, _input_of(importer, negative.source), source, 0.0)
    if slope is None or np.any(slope != -1):
        return None
    return np.asarray(-scale.array, np.float32).reshape(-1)


def larger_or_smaller(importer: Importer, node: TfNode, first: Value, second: Value) -> Value:
    """Maximum or minimum of two tensors; a leaky ReLU where it is ``max(x, alpha * x)``."""
    for x, scaled in ((first, second), (second, first)):
        affine = scaled.affine
        if node.op != "Maximum" or x.affine or affine is None or x.source != scaled.source:
            continue
        if affine.before or affine.after or affine.scale is None:
            continue
        slopes = affine.scale.array
        if slopes.size and np.ptp(slopes) == 0 and 0 <= slopes.flat[0] < 1:
            alpha = float(str(np.float32(slopes.flat[0])))
            return _apply(importer, node, x, LeakyRelu(alpha))
    op = Maximum() if node.op == "Maximum" else Minimum()
    return two_tensors(importer, node, [first, second], op)


def _is(importer: Importer, name: str, op: type[Op], source: str = "") -> bool:
    """Whether a value is made by ``op``, of ``source`` if that is given."""
    made = importer.builder.made(name)
    return made is not None and isinstance(made.op, op) and source in ("", made.inputs[0])


def _input_of(importer: Importer, name: str) -> str:
    """What the node reads that makes a value."""
    made = importer.builder.made(name)
    assert made is not None
    return made.inputs[0]


def _is_relu(importer: Importer, name: str) -> bool:
    made = importer.builder.made(name)
    return made is not None and made.op == Clamp(RELU)


def _slope(importer: Importer, name: str, source: str, offset: float) -> Array | None:
    """Scale of each channel, where ``name`` is ``source * scale + offset``."""
    made = importer.builder.made(name)
    if made is None or not isinstance(made.op, BatchNorm) or made.inputs[0] != source:
        return None
    if made.op.limits != Limits():
        return None
    scale, shift = made.op.scale_and_offset(made.params)
    return scale if np.all(shift == offset) else None


def _number(value: float) -> Known:
    return Known(np.asarray(value, np.float32))


def negative(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Neg."""
    return importer.scale_by(as_value(node, inputs[0]), _number(-1), node)


ELEMENT_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(FUNCTIONS, function),
    "Neg": negative,
}
