"""What each TensorFlow op becomes when one of its inputs is computed at run time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.elements import (
    ELEMENT_HANDLERS,
    larger_or_smaller,
    product,
    total,
    two_tensors,
    with_operand,
)
from mcu_export.loaders.tf.fold import expanded, resolved, squeezed
from mcu_export.loaders.tf.importer import PASSING_OPS, Handler, Importer
from mcu_export.loaders.tf.layers import LAYER_HANDLERS
from mcu_export.loaders.tf.moves import MOVE_HANDLERS
from mcu_export.loaders.tf.nodes import TfNode
from mcu_export.loaders.tf.values import (
    Known,
    Noise,
    Result,
    Spread,
    Value,
    as_known,
    as_value,
    require_channels_last,
    unsupported,
)
from mcu_export.loaders.tf.variables import VARIABLE_OPS
from mcu_export.ops import (
    RELU,
    RELU6,
    Clamp,
    Limits,
    Maximum,
    Minimum,
    Multiply,
    Plus,
    Softmax,
    Subtract,
)


def constant(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Const."""
    return Known(node.tensor("value"), origin=f"{node.name}:0")


def placeholder(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Placeholder: a graph input; a first size that is unknown is the batch."""
    declared = node.shape("shape")
    if not declared:
        return importer.input(node, None)
    shape = (1, *declared[1:]) if declared[0] == -1 else declared
    return importer.input(node, None if -1 in shape else shape)


def identity(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """An op that passes its first input on."""
    return inputs[0]


def identity_of_several(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """IdentityN: what TensorFlow puts behind functions with a gradient of their own, as silu."""
    for index, result in enumerate(inputs):
        importer.results[f"{node.name}:{index}"] = result
    return inputs[0]


def placeholder_with_default(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """PlaceholderWithDefault: an input, or a setting that keeps its default."""
    return placeholder(importer, node, inputs) if node.shape("shape") else inputs[0]


def variable(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """A variable whose value is not known."""
    raise ModelFileError(
        "the file has no value for this variable",
        where=node.where,
        fix="freeze the graph, or export the checkpoint or SavedModel that has the variables",
    )


def cast(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Cast to a float type does nothing here: a scheme decides how numbers are stored."""
    kind = node.dtype("DstT", 1)
    if isinstance(inputs[0], Value) and kind.kind != "f":
        raise unsupported(node, f"casts to {kind}; only float types are supported")
    return inputs[0]


def shape_of(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Shape: a constant, with a batch of 1."""
    value = as_value(node, inputs[0])
    return Known(np.asarray(importer.shape(value, node), node.dtype("out_type", 3)))


def reshape(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Reshape; gives an input without a shape the one that is asked for."""
    value, wanted = as_value(node, inputs[0]), as_known(node, inputs[1]).array.reshape(-1)
    sizes = [int(size) for size in wanted]
    if value.shape is None:
        sizes = [1, *sizes[1:]] if sizes[:1] == [-1] else sizes
        if -1 in sizes:
            raise unsupported(node, f"the input has no shape, and {sizes} does not give it one")
        return importer.relayout(value, sizes, node)
    return importer.relayout(value, resolved(sizes, math.prod(value.shape)), node)


def squeeze(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Squeeze."""
    if isinstance(inputs[0], Spread) and inputs[0].sequence:
        return inputs[0]  # it is an image of height 1 all the time
    value = as_value(node, inputs[0])
    return importer.relayout(value, squeezed(node, importer.shape(value, node)), node)


def expand_dims(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """ExpandDims."""
    if isinstance(inputs[0], Spread) and inputs[0].sequence:
        return inputs[0]  # it is an image of height 1 all the time
    value, axis = as_value(node, inputs[0]), int(as_known(node, inputs[1]).array)
    return importer.relayout(value, expanded(axis, importer.shape(value, node)), node)


def add(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Add, AddV2, AddN, BiasAdd: of a constant, or of two tensors."""
    if len(inputs) != 2:
        raise unsupported(node, f"adds {len(inputs)} tensors; two are supported")
    require_channels_last(node)
    first, second = inputs
    if isinstance(first, Known):
        first, second = second, first
    value = as_value(node, first)
    if not isinstance(second, Known):
        return total(importer, node, value, as_value(node, second))
    if importer.fits_channels(value, second, node):
        return importer.add_constant(value, second, node)
    return with_operand(importer, node, value, second, Plus())


def subtract(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Sub, of constants and tensors."""
    first, second = inputs
    if isinstance(first, Value) and isinstance(second, Value):
        return two_tensors(importer, node, [first, second], Subtract())
    if isinstance(second, Known):
        value = as_value(node, first)
        if not importer.fits_channels(value, second, node):
            return with_operand(importer, node, value, second, Subtract())
        negative = Known(-second.array, "Neg", (second,))
        return importer.add_constant(value, negative, node)
    constant, value = as_known(node, first), as_value(node, second)
    if not importer.fits_channels(value, constant, node):
        return with_operand(importer, node, value, constant, Subtract(swapped=True))
    minus_one = Known(np.asarray(-1, np.float32))
    return importer.add_constant(importer.scale_by(value, minus_one, node), constant, node)


def square(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Square."""
    return multiply(importer, node, [inputs[0], inputs[0]])


def multiply(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Mul by a constant or a tensor."""
    first, second = inputs
    if isinstance(first, Known):
        first, second = second, first
    value = as_value(node, first)
    if not isinstance(second, Known):
        return product(importer, node, value, as_value(node, second))
    if importer.fits_channels(value, second, node):
        return importer.scale_by(value, second, node)
    return with_operand(importer, node, value, second, Multiply())


def divide(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """RealDiv by a constant."""
    divisor = as_known(node, inputs[1])
    if not np.all(divisor.array):
        raise unsupported(node, "divides by 0")
    reciprocal = Known(np.float32(1) / divisor.array, "Reciprocal", (divisor,))
    return importer.scale_by(as_value(node, inputs[0]), reciprocal, node)


def clamp(importer: Importer, node: TfNode, inputs: Sequence[Result], limits: Limits) -> Result:
    """An activation that limits its input; it keeps the layout, whatever that is."""
    value = importer.settle(as_value(node, inputs[0]))
    source = importer.channels_last(value, node)
    made = importer.emit(node, Clamp(limits), [source], value.shape)
    return replace(made, layout=value.layout)


def bound(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Maximum and Minimum with one number, a constant or a tensor."""
    first, second = inputs
    if isinstance(first, Known):
        first, second = second, first
    if isinstance(second, Value):
        return larger_or_smaller(importer, node, as_value(node, first), second)
    limit = as_known(node, second).array
    if limit.size != 1:
        op = Maximum() if node.op == "Maximum" else Minimum()
        return with_operand(importer, node, as_value(node, first), Known(limit), op)
    number = float(limit.item())
    limits = Limits(low=number) if node.op == "Maximum" else Limits(high=number)
    return clamp(importer, node, [first], limits)


def random_uniform(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """RandomUniform: what a dropout draws."""
    return Noise(0.0, 1.0)


def select(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Select and SelectV2 by a constant that is the same everywhere."""
    chosen = as_known(node, inputs[0]).array
    if chosen.size == 0 or chosen.min() != chosen.max():
        raise unsupported(node, "selects element by element")
    return inputs[1] if chosen.all() else inputs[2]


def softmax(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
    """Softmax over the last axis."""
    value = importer.settle(as_value(node, inputs[0]))
    source = importer.channels_last(value, node)
    made = importer.emit(node, Softmax(), [source], value.shape)
    return replace(made, layout=value.layout)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(PASSING_OPS, identity),
    "IdentityN": identity_of_several,
    "Const": constant,
    **dict.fromkeys(("Placeholder", "PlaceholderV2"), placeholder),
    "PlaceholderWithDefault": placeholder_with_default,
    **dict.fromkeys(VARIABLE_OPS, variable),
    "Cast": cast,
    "Shape": shape_of,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "ExpandDims": expand_dims,
    **dict.fromkeys(("Add", "AddV2", "AddN", "BiasAdd"), add),
    "Sub": subtract,
    "Mul": multiply,
    "Square": square,
    **dict.fromkeys(("RealDiv", "Div"), divide),
    **dict.fromkeys(("Maximum", "Minimum"), bound),
    "Relu": partial(clamp, limits=RELU),
    "Relu6": partial(clamp, limits=RELU6),
    "Softmax": softmax,
    "RandomUniform": random_uniform,
    **dict.fromkeys(("Select", "SelectV2"), select),
    **LAYER_HANDLERS,
    **ELEMENT_HANDLERS,
    **MOVE_HANDLERS,
}
