"""Functions called on tensors of a functional model, such as ``x + y`` and ``tf.nn.relu(x)``.

Keras 3 stores them by class (``Add``), Keras 2 as ``TFOpLambda`` with the name of a function, and
the first Keras inside TensorFlow as ``TensorFlowOpLayer`` with an op. Nothing is called by name:
what is not in the tables is not supported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from mcu_export.loaders.keras import arithmetic
from mcu_export.loaders.keras.activations import ACTIVATIONS, TF_ACTIVATIONS
from mcu_export.loaders.keras.arithmetic import MERGES, TF_ARITHMETIC
from mcu_export.loaders.keras.layer import Handler, Layer
from mcu_export.loaders.keras.moves import MOVES, TF_MOVES
from mcu_export.loaders.keras.shapes import reshape as reshape_layer
from mcu_export.loaders.keras.shapes import resolved
from mcu_export.ops import AveragePool2D, Clamp, Limits, MaxPool2D


def clip(layer: Layer, inputs: list[str]) -> str:
    """``clip(x, low, high)``."""
    low = layer.argument("x_min", "clip_value_min")
    high = layer.argument("x_max", "clip_value_max")
    limits = Limits(layer.as_number(low, "x_min"), layer.as_number(high, "x_max"))
    if limits.low > limits.high:
        raise layer.damaged(f"clips to {limits.text()}")
    return layer.emit(Clamp(limits), inputs[0])


def reshape(layer: Layer, inputs: list[str]) -> str:
    """``reshape(x, shape)``, where the first size is the batch; the layer ``Reshape`` too."""
    if "target_shape" in layer.spec.config:
        return reshape_layer(layer, inputs)
    sizes = layer.integers(layer.argument("newshape", "shape"), "shape", -1)
    shape = layer.shape(inputs[0])
    if not sizes[1:] or (sizes[0] == -1 and math.prod(sizes[1:]) != math.prod(shape)):
        raise layer.unsupported(f"reshapes to {sizes}", "keep the batch as the first size, -1")
    return layer.reshape(inputs[0], resolved(layer, sizes[1:], shape))


def expand_dims(layer: Layer, inputs: list[str]) -> str:
    """``expand_dims(x, axis)``."""
    shape = (1, *layer.shape(inputs[0]))
    (axis,) = layer.integers(layer.argument("axis"), "axis", -len(shape) - 1)
    axis %= len(shape) + 1
    if axis == 0:
        raise layer.unsupported("adds an axis before the batch")
    return layer.reshape(inputs[0], (*shape[1:axis], 1, *shape[axis:]))


def squeeze(layer: Layer, inputs: list[str]) -> str:
    """``squeeze(x, axis)``."""
    shape = (1, *layer.shape(inputs[0]))
    axes = _axes(layer, inputs[0])
    if 0 in axes or any(shape[axis] != 1 for axis in axes):
        raise layer.unsupported(f"squeezes the axes {axes} of {shape}")
    return layer.reshape(inputs[0], tuple(s for i, s in enumerate(shape) if i and i not in axes))


def reduced(layer: Layer, inputs: list[str], op: type[MaxPool2D] | type[AveragePool2D]) -> str:
    """``mean(x, axis)`` and ``max(x, axis)`` over all axes between batch and channels."""
    shape = layer.shape(inputs[0])
    axes = _axes(layer, inputs[0])
    if len(shape) not in (2, 3) or axes != list(range(1, len(shape))):
        raise layer.unsupported(
            f"reduces the axes {axes} of a tensor with {len(shape) + 1}",
            "only a reduction over height and width (a global pooling) is supported",
        )
    image = layer.reshape(inputs[0], (1, *shape)[-3:], "image")
    kernel = layer.shape(image)[:2]
    made = layer.emit(op((kernel[0], kernel[1]), (kernel[0], kernel[1])), image)
    kept = (1,) * len(axes) if layer.argument("keepdims", "keep_dims") else ()
    return layer.reshape(made, (*kept, shape[-1]), "flat")


def cast(layer: Layer, inputs: list[str]) -> str:
    """``cast(x, dtype)`` to a float type: a scheme decides how numbers are stored."""
    if "float" not in str(layer.argument("dtype")):
        raise layer.unsupported(f"casts to {str(layer.argument('dtype'))[:20]}")
    return inputs[0]


def identity(layer: Layer, inputs: list[str]) -> str:
    """Passes its input on."""
    return inputs[0]


def _axes(layer: Layer, value: str) -> list[int]:
    """The ``axis`` argument as positive axes of a tensor with batch."""
    rank = len(layer.shape(value)) + 1
    given = layer.argument("axis")
    if given is None or given == []:
        raise layer.unsupported("an axis must be given; without one the batch is taken in")
    return sorted({axis % rank for axis in layer.integers(given, "axis", -rank)})


# --- tables -----------------------------------------------------------------------------------

MEAN, LARGEST = (partial(reduced, op=op) for op in (AveragePool2D, MaxPool2D))

CLASSES: dict[str, Handler] = {
    **ACTIVATIONS,
    **MERGES,
    **MOVES,
    "Cast": cast,
    "Clip": clip,
    "ExpandDims": expand_dims,
    "Max": LARGEST,
    "Mean": MEAN,
    "Reshape": reshape,
    "Squeeze": squeeze,
}
"""Classes of Keras 3 operations; some layers are called the same."""

FUNCTIONS: dict[str, Handler] = {
    **TF_ACTIVATIONS,
    **TF_ARITHMETIC,
    **TF_MOVES,
    **dict.fromkeys(("math.reduce_mean", "reduce_mean", "compat.v1.reduce_mean"), MEAN),
    **dict.fromkeys(("math.reduce_max", "reduce_max", "compat.v1.reduce_max"), LARGEST),
    "cast": cast,
    "clip_by_value": clip,
    "expand_dims": expand_dims,
    "reshape": reshape,
    **dict.fromkeys(("squeeze", "compat.v1.squeeze"), squeeze),
    **dict.fromkeys(("identity", "stop_gradient"), identity),
}
"""Functions of TFOpLambda, without the ``tf.`` that its names may start with."""

GRAPH_ACTIVATIONS = (
    "Elu",
    "Exp",
    "Relu",
    "Relu6",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
)

GRAPH_OPS: dict[str, Handler] = {
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), arithmetic.plus),
    "ConcatV2": MOVES["Concatenate"],
    "Identity": identity,
    "Maximum": arithmetic.maximum,
    "Minimum": arithmetic.minimum,
    "Mul": arithmetic.times,
    "Neg": arithmetic.negative,
    "RealDiv": arithmetic.divided,
    **{name: ACTIVATIONS[name] for name in GRAPH_ACTIVATIONS},
    "Square": arithmetic.square,
    "Sub": arithmetic.minus,
}
"""Ops of TensorFlowOpLayer."""


def tf_function(layer: Layer, inputs: list[str]) -> str | list[str]:
    """TFOpLambda: a function of TensorFlow by its name."""
    name = layer.text("function", layer.text("symbol", "")).removeprefix("tf.")
    return _listed(layer, name, FUNCTIONS)(layer, inputs)


def graph_op(layer: Layer, inputs: list[str]) -> str | list[str]:
    """TensorFlowOpLayer: an op, with its constant inputs by their place."""
    node, constants = layer.setting("node_def", {}), layer.setting("constants", {})
    op = node.get("op") if isinstance(node, dict) else node
    use = replace(layer.use, constants=tuple(constants.values()), constant_first="0" in constants)
    return _listed(layer, str(op), GRAPH_OPS)(replace(layer, use=use), inputs)


def _listed(layer: Layer, name: str, table: Mapping[str, Handler]) -> Handler:
    if name not in table:
        raise layer.unsupported(
            f"the function {name[:60]!r} is not supported",
            f"use a built-in layer, or one of: {', '.join(sorted(table))}",
        )
    return table[name]


OPERATIONS: dict[str, Handler] = {
    **CLASSES,
    "TFOpLambda": tf_function,
    "TensorFlowOpLayer": graph_op,
}
