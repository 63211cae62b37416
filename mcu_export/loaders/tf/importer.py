"""Walks a TensorFlow graph in order and builds ours: constants are folded, layouts are lazy.

Everything is seen with a batch of 1, so arithmetic on shapes, whatever it looks like, folds into
constants.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.loaders.base import MAX_ELEMENTS, GraphBuilder
from mcu_export.loaders.tf.batch_norm import batch_norm_of
from mcu_export.loaders.tf.dropout import apply_to_noise
from mcu_export.loaders.tf.fold import fold
from mcu_export.loaders.tf.nodes import TfNode, bounded
from mcu_export.loaders.tf.values import (
    Affine,
    FullShape,
    Known,
    Noise,
    Origin,
    Result,
    Value,
    unsupported,
)
from mcu_export.ops import (
    Array,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Op,
    Reshape,
    Shape,
    TransposeConv2D,
)

Handler: TypeAlias = "Callable[[Importer, TfNode, Sequence[Result]], Result]"
# Ops that pass on their first input, whatever it is.
PASSING_OPS = frozenset(
    {
        "Identity",
        "StopGradient",
        "Snapshot",
        "CheckNumerics",
        "PreventGradient",
        "EnsureShape",
        "ReadVariableOp",
    }
)
BIASED_OPS = (Conv2D, DepthwiseConv2D, Dense, TransposeConv2D)


class Importer:
    """State of one import: results by tensor, and the builder of our graph.

    Args:
        source: name of the file, for messages.
        handlers: what to do with each op.
        known: tensors whose value is given (variables, moving averages).
        bn_epsilon: replaces the epsilon of every batch norm.
    """

    def __init__(
        self,
        source: str,
        handlers: Mapping[str, Handler],
        known: Mapping[str, Array] | None = None,
        bn_epsilon: float | None = None,
    ) -> None:
        self.builder = GraphBuilder(source)
        self.handlers = handlers
        self.bn_epsilon = bn_epsilon
        self.results: dict[str, Result] = {
            tensor: Known(array, origin=tensor) for tensor, array in (known or {}).items()
        }
        self.origins: dict[tuple[str, str], list[Origin]] = {}
        self.uses: Counter[str] = Counter()
        self._undeclared: set[str] = set()
        self._known_elements = 0

    def run(self, order: Iterable[TfNode], outputs: Sequence[str]) -> dict[str, Value]:
        """Evaluate nodes in topological order; returns those ``outputs`` that are computed.

        Raises:
            ModelFileError: all outputs are constants.
        """
        order = tuple(order)
        self.uses.update(tensor for node in order for tensor in node.inputs)
        self.uses.update(outputs)
        for node in order:
            if f"{node.name}:0" not in self.results:
                self.results[f"{node.name}:0"] = self._evaluate(node)
        where = self.builder.source
        results = {tensor: self._fetch(tensor, where) for tensor in outputs}
        values = {tensor: item for tensor, item in results.items() if isinstance(item, Value)}
        if not values:
            raise ModelFileError("the output does not depend on an input", where=where)
        return values

    def _evaluate(self, node: TfNode) -> Result:
        inputs = [self._fetch(tensor, node.where) for tensor in node.inputs]
        try:
            result = self._dispatch(node, inputs)
        except McuExportError as error:
            error.where = error.where or node.where
            raise
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            what = f"the inputs and attributes of this op do not fit together: {error}"
            raise ModelFileError(what, where=node.where) from error
        if isinstance(result, Known) and node.op not in ("Const", "Identity"):
            self._known_elements += result.array.size
            if self._known_elements > MAX_ELEMENTS:
                raise ModelFileError("the constants are implausibly large", where=node.where)
        return result

    def _dispatch(self, node: TfNode, inputs: Sequence[Result]) -> Result:
        constants = [item for item in inputs if isinstance(item, Known)]
        folded = fold(node, constants) if inputs and len(constants) == len(inputs) else None
        if folded is not None:
            return folded
        if any(isinstance(item, Noise) for item in inputs) and node.op not in PASSING_OPS:
            return apply_to_noise(node, inputs)
        if node.op not in self.handlers:
            what = f"the op {node.op} is not supported"
            raise unsupported(node, what, "replace the layer, or cut the graph before it")
        return self.handlers[node.op](self, node, inputs)

    def _fetch(self, tensor: str, where: str) -> Result:
        if tensor not in self.results:
            raise UnsupportedLayerError(
                f"reads {tensor!r}, an output that is not available at inference", where=where
            )
        result = self.results[tensor]
        if isinstance(result, Value) and self.uses[tensor] > 1:
            result = self.settle(replace(result, shared=True))
            self.results[tensor] = result
        return result

    # Inputs and layouts.

    def input(self, node: TfNode, shape: FullShape | None) -> Value:
        """A graph input. It is declared at its first use, in the shape which that use needs."""
        if shape is not None:
            bounded(shape, node.where)
        self._undeclared.add(node.name)
        return Value(node.name, shape)

    def shape(self, value: Value, node: TfNode) -> FullShape:
        """Shape of the value with its batch of 1; an error where it is not known."""
        if value.shape is None:
            raise ModelFileError(
                f"the shape of the input {value.source!r} is not known here",
                where=node.where,
                fix="freeze the graph with a fixed input shape (only the batch may be unknown)",
            )
        return value.shape

    def relayout(self, value: Value, shape: Sequence[int], node: TfNode) -> Value:
        """The same elements under another shape."""
        wanted = bounded(shape, node.where)
        if value.shape is not None:
            if math.prod(wanted) != math.prod(value.shape):
                what = f"cannot reshape {value.shape} to {wanted}"
                raise ModelFileError(what, where=node.where)
            if value.affine and value.shape[-1:] != wanted[-1:]:
                value = self.settle(value)
        return replace(value, shape=wanted, layout=node.name)

    def emit(
        self,
        node: TfNode,
        op: Op,
        inputs: Sequence[str],
        shape: FullShape | None = None,
        **params: Array,
    ) -> Value:
        """Add a node of ours; ``shape`` is what TensorFlow calls its result."""
        name = self.builder.add(node.name, op, list(inputs), params)
        made = self.builder.shapes[name]
        bounded(made, node.where)
        return Value(name, (1, *made) if shape is None else shape)

    def named(self, value: Value, shape: Shape, node: TfNode) -> str:
        """Name of a builder value with the elements of ``value`` in the shape without batch."""
        value = self.settle(value)
        if value.source in self._undeclared:
            self._undeclared.remove(value.source)
            name = self.builder.input(value.source, shape)
            if name != value.source:
                raise ModelFileError("two nodes have the same name", where=node.where)
        if self.builder.shapes[value.source] == shape:
            return value.source
        name = value.layout or f"{value.source}/reshape"
        return self.builder.add(name, Reshape(shape), [value.source])

    def sample(self, value: Value, node: TfNode) -> str:
        """Name of the value in the shape TensorFlow has, without the batch."""
        full = self.shape(value, node)
        return self.named(value, full[1:] if len(full) > 1 and full[0] == 1 else full, node)

    def image(self, value: Value, node: TfNode) -> tuple[str, Shape]:
        """Name and shape (H, W, C) of a value that TensorFlow has as (1, H, W, C)."""
        full = self.shape(value, node)
        if len(full) != 4 or full[0] != 1:
            what = f"needs an image (1, H, W, C), its input has the shape {full}"
            raise unsupported(node, what, "save the model for a batch of 1 or of unknown size")
        return self.named(value, full[1:], node), full[1:]

    def channels_last(self, value: Value, node: TfNode) -> str:
        """Name of the value in any shape whose last axis is TensorFlow's last axis."""
        value = self.settle(value)
        full = self.shape(value, node)
        if value.source not in self._undeclared and (
            self.builder.shapes[value.source][-1] == full[-1]
        ):
            return value.source
        return self.sample(value, node)

    # Bias and batch norm.

    def add_constant(self, value: Value, constant: Known, node: TfNode) -> Value:
        """``value + constant``: into the bias of the layer before, or an affine step."""
        if not np.any(constant.array):
            return value
        if not np.all(np.isfinite(constant.array)):
            raise ModelFileError("adds NaN or infinity", where=node.where)
        vector = self._per_channel(value, constant, node)
        if value.affine is None and self._merge_bias(value, vector.array):
            self.note(value.source, "bias", node, constant)
            return value
        affine = value.affine or Affine(node)
        if affine.after is not None:
            value = self.settle(value)
            affine = Affine(node)
        if affine.scale is None:
            if affine.before is not None:
                vector = replace(vector, array=affine.before.array + vector.array)
            return replace(value, affine=replace(affine, node=node, before=vector))
        return replace(value, affine=replace(affine, node=node, after=vector))

    def scale_by(self, value: Value, constant: Known, node: TfNode) -> Value:
        """``value * constant``, an affine step that a following addition joins."""
        if np.all(constant.array == 1):
            return value
        vector = self._per_channel(value, constant, node)
        affine = value.affine or Affine(node)
        if affine.after is not None:
            value = self.settle(value)
            affine = Affine(node)
        if affine.scale is not None:
            product = affine.scale.array * vector.array
            vector = Known(product, "Mul", (affine.scale, vector))
            if affine.before is None and np.all(product == 1):
                return replace(value, affine=None)
        return replace(value, affine=replace(affine, node=node, scale=vector))

    def settle(self, value: Value) -> Value:
        """The value with its pending affine step made a BatchNorm node."""
        if value.affine is None:
            return value
        affine, plain = value.affine, replace(value, affine=None)
        epsilon, parts = batch_norm_of(affine)
        params = {role: known.array for role, known in parts.items()}
        settled = self.batch_norm(affine.node, plain, epsilon, params)
        for role, known in parts.items():
            self.note(settled.source, role, affine.node, known)
        return replace(settled, layout=value.layout, shared=value.shared)

    def batch_norm(
        self, node: TfNode, value: Value, epsilon: float | None, params: Mapping[str, Array]
    ) -> Value:
        """Add a BatchNorm; without an epsilon it is none, but any scale and offset."""
        if epsilon is None:
            epsilon = 0.0
        elif self.bn_epsilon is not None:
            epsilon = self.bn_epsilon
        if not np.all(params["variance"] + epsilon > 0):
            raise ModelFileError(
                f"with epsilon {epsilon:g} the variance of a channel is not positive",
                where=node.where,
                fix="choose a larger epsilon; the file may also be damaged",
            )
        source = self.channels_last(value, node)
        shape = self.shape(value, node)
        return self.emit(node, BatchNorm(float(epsilon)), [source], shape, **params)

    def note(self, name: str, role: str, node: TfNode, known: Known) -> None:
        """Remember where the parameter ``role`` of our node ``name`` comes from.

        The index is -1 where ``node`` does not read the constant itself.
        """
        read = (i for i, tensor in enumerate(node.inputs) if self.results.get(tensor) is known)
        origin = Origin(node.name, next(read, -1), known.origin, known.array)
        self.origins.setdefault((name, role), []).append(origin)

    def fits_channels(self, value: Value, constant: Known, node: TfNode) -> bool:
        """Whether the constant is one number, or one for each channel (the last axis)."""
        full, shape = self.shape(value, node), constant.array.shape
        return (
            len(shape) <= len(full)
            and all(size == 1 for size in shape[:-1])
            and (not shape or shape[-1] in (1, full[-1]))
        )

    def _per_channel(self, value: Value, constant: Known, node: TfNode) -> Known:
        if not self.fits_channels(value, constant, node):
            raise unsupported(
                node,
                f"a constant of the shape {constant.array.shape} meets a tensor of the shape "
                f"{value.shape}",
                "only one number, or one number for each channel (the last axis), is supported",
            )
        channels = self.shape(value, node)[-1]
        vector = np.broadcast_to(constant.array.reshape(-1), (channels,))
        return replace(constant, array=vector)

    def _merge_bias(self, value: Value, vector: Array) -> bool:
        """Add to the bias of the layer that made the value, if nobody else reads that layer."""
        places = (i for i, n in enumerate(self.builder.nodes) if n.name == value.source)
        place = next(places, None)
        if value.shared or place is None:
            return False
        layer = self.builder.nodes[place]
        if not isinstance(layer.op, BIASED_OPS) or layer.shape[-1] != vector.size:
            return False
        params = dict(layer.params)
        params["bias"] = params["bias"] + np.asarray(vector, np.float32)
        self.builder.nodes[place] = replace(layer, params=params)
        return True
