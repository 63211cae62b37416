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
from typing import Any

from mcu_export.loaders import keras_arithmetic as arithmetic
from mcu_export.loaders.keras_layer import Handler, Layer
from mcu_export.loaders.keras_layer import softmax as softmax_layer
from mcu_export.loaders.keras_shapes import moved_axes, resolved
from mcu_export.loaders.keras_shapes import reshape as reshape_layer
from mcu_export.ops import RELU, RELU6, AveragePool2D, Clamp, Limits, MaxPool2D


def limited(layer: Layer, inputs: list[str], limits: Limits) -> str:
    """``relu(x)`` and ``relu6(x)``; keywords that make another function of it are refused."""
    for key in ("alpha", "negative_slope", "threshold"):
        if _argument(layer, key):
            raise layer.unsupported(f"{key} is not supported", "use a plain ReLU")
    highest = _argument(layer, "max_value")
    if highest is not None:
        limits = Limits(0.0, layer.as_number(highest, "max_value"))
    return layer.emit(Clamp(limits), inputs[0])


def clip(layer: Layer, inputs: list[str]) -> str:
    """``clip(x, low, high)``."""
    low = _argument(layer, "x_min", "clip_value_min")
    high = _argument(layer, "x_max", "clip_value_max")
    limits = Limits(layer.as_number(low, "x_min"), layer.as_number(high, "x_max"))
    if limits.low > limits.high:
        raise layer.damaged(f"clips to {limits.text()}")
    return layer.emit(Clamp(limits), inputs[0])


def softmax(layer: Layer, inputs: list[str]) -> str:
    """``softmax(x)`` over the last axis; the layer ``Softmax`` too."""
    axis = _argument(layer, "axis")
    spec = replace(layer.spec, config={"axis": axis})
    return softmax_layer(replace(layer, spec=spec), inputs)


def reshape(layer: Layer, inputs: list[str]) -> str:
    """``reshape(x, shape)``, where the first size is the batch; the layer ``Reshape`` too."""
    if "target_shape" in layer.spec.config:
        return reshape_layer(layer, inputs)
    sizes = layer.integers(_argument(layer, "newshape", "shape"), "shape", -1)
    shape = layer.shape(inputs[0])
    if not sizes[1:] or (sizes[0] == -1 and math.prod(sizes[1:]) != math.prod(shape)):
        raise layer.unsupported(f"reshapes to {sizes}", "keep the batch as the first size, -1")
    return layer.reshape(inputs[0], resolved(layer, sizes[1:], shape))


def expand_dims(layer: Layer, inputs: list[str]) -> str:
    """``expand_dims(x, axis)``."""
    shape = (1, *layer.shape(inputs[0]))
    (axis,) = layer.integers(_argument(layer, "axis"), "axis", -len(shape) - 1)
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


def transpose(layer: Layer, inputs: list[str]) -> str:
    """``transpose(x, axes)``, where only axes of size 1 move."""
    order = layer.integers(_argument(layer, "axes", "perm"), "axes", 0)
    if order[:1] != [0]:
        raise layer.unsupported(f"transposes the batch: {order}")
    return moved_axes(layer, inputs[0], order[1:])


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
    kept = (1,) * len(axes) if _argument(layer, "keepdims", "keep_dims") else ()
    return layer.reshape(made, (*kept, shape[-1]), "flat")


def cast(layer: Layer, inputs: list[str]) -> str:
    """``cast(x, dtype)`` to a float type: a scheme decides how numbers are stored."""
    if "float" not in str(_argument(layer, "dtype")):
        raise layer.unsupported(f"casts to {str(_argument(layer, 'dtype'))[:20]}")
    return inputs[0]


def identity(layer: Layer, inputs: list[str]) -> str:
    """Passes its input on."""
    return inputs[0]


def _argument(layer: Layer, *keys: str) -> Any:
    """An argument that the configuration or a keyword holds; else None."""
    for key in keys:
        for place in (layer.spec.config, layer.use.options):
            if place.get(key) is not None:
                return place[key]
    return None


def _axes(layer: Layer, value: str) -> list[int]:
    """The ``axis`` argument as positive axes of a tensor with batch."""
    rank = len(layer.shape(value)) + 1
    given = _argument(layer, "axis")
    if given is None or given == []:
        raise layer.unsupported("an axis must be given; without one the batch is taken in")
    return sorted({axis % rank for axis in layer.integers(given, "axis", -rank)})


# --- tables -----------------------------------------------------------------------------------

RELU_HANDLER, RELU6_HANDLER = (partial(limited, limits=limits) for limits in (RELU, RELU6))
MEAN, LARGEST = (partial(reduced, op=op) for op in (AveragePool2D, MaxPool2D))

CLASSES: dict[str, Handler] = {
    "Add": arithmetic.plus,
    "Cast": cast,
    "Clip": clip,
    "Divide": arithmetic.divided,
    "ExpandDims": expand_dims,
    "Max": LARGEST,
    "Maximum": arithmetic.maximum,
    "Mean": MEAN,
    "Minimum": arithmetic.minimum,
    "Multiply": arithmetic.times,
    "Negative": arithmetic.negative,
    "Relu": RELU_HANDLER,
    "Relu6": RELU6_HANDLER,
    "Reshape": reshape,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Subtract": arithmetic.minus,
    "Transpose": transpose,
    "TrueDivide": arithmetic.divided,
}
"""Classes of Keras 3 operations; some layers are called the same."""

FUNCTIONS: dict[str, Handler] = {
    **dict.fromkeys(("__operators__.add", "math.add", "add"), arithmetic.plus),
    **dict.fromkeys(("math.subtract", "subtract"), arithmetic.minus),
    **dict.fromkeys(("math.multiply", "multiply"), arithmetic.times),
    **dict.fromkeys(("math.truediv", "truediv", "math.divide", "divide"), arithmetic.divided),
    **dict.fromkeys(("math.negative", "negative"), arithmetic.negative),
    **dict.fromkeys(("math.maximum", "maximum"), arithmetic.maximum),
    **dict.fromkeys(("math.minimum", "minimum"), arithmetic.minimum),
    **dict.fromkeys(("math.reduce_mean", "reduce_mean", "compat.v1.reduce_mean"), MEAN),
    **dict.fromkeys(("math.reduce_max", "reduce_max", "compat.v1.reduce_max"), LARGEST),
    **dict.fromkeys(("nn.relu", "keras.activations.relu", "keras.backend.relu"), RELU_HANDLER),
    "nn.relu6": RELU6_HANDLER,
    **dict.fromkeys(("nn.softmax", "nn.softmax_v2", "compat.v1.nn.softmax"), softmax),
    "cast": cast,
    "clip_by_value": clip,
    "expand_dims": expand_dims,
    "reshape": reshape,
    **dict.fromkeys(("squeeze", "compat.v1.squeeze"), squeeze),
    **dict.fromkeys(("transpose", "compat.v1.transpose"), transpose),
    **dict.fromkeys(("identity", "stop_gradient"), identity),
}
"""Functions of TFOpLambda, without the ``tf.`` that its names may start with."""

GRAPH_OPS: dict[str, Handler] = {
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), arithmetic.plus),
    "Identity": identity,
    "Maximum": arithmetic.maximum,
    "Minimum": arithmetic.minimum,
    "Mul": arithmetic.times,
    "Neg": arithmetic.negative,
    "RealDiv": arithmetic.divided,
    "Relu": RELU_HANDLER,
    "Relu6": RELU6_HANDLER,
    "Softmax": softmax,
    "Sub": arithmetic.minus,
}
"""Ops of TensorFlowOpLayer."""


def tf_function(layer: Layer, inputs: list[str]) -> str:
    """TFOpLambda: a function of TensorFlow by its name."""
    name = layer.text("function", layer.text("symbol", "")).removeprefix("tf.")
    return _listed(layer, name, FUNCTIONS)(layer, inputs)


def graph_op(layer: Layer, inputs: list[str]) -> str:
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
