"""What a tensor of a TensorFlow graph can be while the graph is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mcu_export.errors import UnsupportedLayerError
from mcu_export.loaders.tf.nodes import TfNode
from mcu_export.ops import Array

FullShape: TypeAlias = tuple[int, ...]
"""A shape with the batch, as TensorFlow has it; the loader runs everything with a batch of 1."""


@dataclass(frozen=True, eq=False)
class Known:
    """A constant, and how it was computed, so that a batch norm is recognized when folded.

    ``origin`` is the tensor of the variable or Const whose elements these are, in any shape.
    """

    array: Array
    op: str = "Const"
    args: tuple[Known, ...] = ()
    origin: str = ""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a parameter of our node comes from: what the node ``reader`` reads as ``index``."""

    reader: str
    index: int
    tensor: str
    array: Array


@dataclass(frozen=True, eq=False)
class Affine:
    """``(x + before) * scale + after`` over the last axis, not yet a node. ``node`` names it."""

    node: TfNode
    before: Known | None = None
    scale: Known | None = None
    after: Known | None = None


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor computed at run time.

    Attributes:
        source: a value of the builder that has the elements, possibly under another shape.
        shape: the shape TensorFlow gives it, batch of 1 included; None: an input without shape.
        layout: the node that last changed the shape; names the Reshape where one is needed.
        shared: whether somebody else reads ``source`` or any tensor between.
        affine: what is still to be applied.
    """

    source: str
    shape: FullShape | None
    layout: str = ""
    shared: bool = False
    affine: Affine | None = None


@dataclass(frozen=True)
class Noise:
    """Random numbers in [low, high), as a dropout draws them."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Spread:
    """An image that SpaceToBatchND spread over the batch, for a dilated convolution.

    Attributes:
        value: the image before that.
        block: the dilation.
        padding: rows and columns added, as ((top, bottom), (left, right)).
        layer: the convolution, once it is met.
        weights: its weights.
        sequence: it was a sequence, which is an image of height 1.
    """

    value: Value
    block: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    layer: TfNode | None = None
    weights: Known | None = None
    sequence: bool = False


Result: TypeAlias = Known | Value | Noise | Spread


def unsupported(node: TfNode, what: str, fix: str = "") -> UnsupportedLayerError:
    """An error that names the node."""
    return UnsupportedLayerError(what, where=node.where, fix=fix)


def as_value(node: TfNode, result: Result) -> Value:
    """The input as a tensor computed at run time."""
    if not isinstance(result, Value):
        kind = {Known: "a constant", Noise: "random numbers"}.get(type(result), "a spread image")
        raise unsupported(node, f"is applied to {kind}, not to a tensor of the network")
    return result


def as_known(node: TfNode, result: Result) -> Known:
    """The input as a constant."""
    if not isinstance(result, Known):
        raise unsupported(
            node,
            "an input that has to be constant is computed at run time",
            "freeze the graph for inference, with its variables as constants",
        )
    return result


def require_channels_last(node: TfNode) -> None:
    """An error unless the data format of the op is channels last."""
    data_format = node.text("data_format", "NHWC")
    if data_format != "NHWC":
        raise unsupported(
            node,
            f"the data format {data_format} is not supported",
            "build the network with channels last (NHWC)",
        )
