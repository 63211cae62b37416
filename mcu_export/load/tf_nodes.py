"""A GraphDef as Python sees it: nodes with typed attributes, and constants as arrays."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.load.base import MAX_ELEMENTS, MAX_NODES
from mcu_export.ops.base import Array

# TensorFlow's DataType -> numpy, and the repeated field that holds values of that type.
DTYPES: dict[int, tuple[np.dtype[Any], str]] = {
    1: (np.dtype("<f4"), "float_val"),
    2: (np.dtype("<f8"), "double_val"),
    3: (np.dtype("<i4"), "int_val"),
    4: (np.dtype("u1"), "int_val"),
    5: (np.dtype("<i2"), "int_val"),
    6: (np.dtype("i1"), "int_val"),
    9: (np.dtype("<i8"), "int64_val"),
    10: (np.dtype("?"), "bool_val"),
    17: (np.dtype("<u2"), "int_val"),
    19: (np.dtype("<f2"), "half_val"),
    22: (np.dtype("<u4"), "uint32_val"),
    23: (np.dtype("<u8"), "uint64_val"),
}
_HALF = 19


@dataclass(frozen=True, eq=False)
class TfNode:
    """One NodeDef. ``inputs`` are tensors ``node:index``; control inputs are left out.

    An attribute that is absent has the default of its op: TensorFlow strips defaults from files.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    source: str
    attrs: Any

    @property
    def where(self) -> str:
        """``file: layer 'name' (op)``, for error messages."""
        return f"{self.source}: layer {self.name!r} ({self.op})"

    def integer(self, key: str, default: int) -> int:
        """An attribute of type int."""
        return int(self._scalar(key, "i", default))

    def number(self, key: str, default: float) -> float:
        """An attribute of type float, as the shortest decimal number of that float32."""
        return float(str(np.float32(self._scalar(key, "f", default))))

    def flag(self, key: str, default: bool) -> bool:
        """An attribute of type bool."""
        return bool(self._scalar(key, "b", default))

    def text(self, key: str, default: str) -> str:
        """An attribute of type string."""
        value = self._scalar(key, "s", default.encode())
        return bytes(value).decode("utf-8", "replace")

    def integers(self, key: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """An attribute of type list(int)."""
        value = self._scalar(key, "list", None)
        return tuple(default) if value is None or not value.i else tuple(int(i) for i in value.i)

    def dtype(self, key: str, default: int) -> np.dtype[Any]:
        """An attribute of type DataType."""
        code = self._scalar(key, "type", default)
        if code not in DTYPES:
            raise UnsupportedLayerError(f"the data type {code} is not supported", where=self.where)
        return DTYPES[code][0]

    def shape(self, key: str) -> tuple[int, ...] | None:
        """An attribute of type shape, -1 for unknown sizes; None where the rank is unknown."""
        value = self._scalar(key, "shape", None)
        if value is None or value.unknown_rank:
            return None
        return tuple(int(dim.size) for dim in value.dim)

    def tensor(self, key: str) -> Array:
        """An attribute of type tensor."""
        value = self._scalar(key, "tensor", None)
        if value is None:
            raise ModelFileError(f"has no {key!r}", where=self.where)
        return decode_tensor(value, self.where)

    def _scalar(self, key: str, field: str, default: Any) -> Any:
        if key not in self.attrs:
            return default
        attr = self.attrs[key]
        if attr.WhichOneof("value") != field:
            raise ModelFileError(f"the attribute {key!r} is of the wrong type", where=self.where)
        return getattr(attr, field)


def bounded(sizes: Sequence[int], where: str) -> tuple[int, ...]:
    """``sizes`` as a shape, once it is known that such a tensor is not absurdly large."""
    shape = tuple(int(size) for size in sizes)
    if min(shape, default=0) < 0 or math.prod(shape) > MAX_ELEMENTS:
        raise ModelFileError(
            f"a tensor of the shape {shape} is not plausible",
            where=where,
            fix=f"at most {MAX_ELEMENTS} elements are read; the file may be damaged",
        )
    return shape


def decode_tensor(proto: Any, where: str) -> Array:
    """The array of a TensorProto; a last value that stands for all the rest is spread out.

    Raises:
        ModelFileError: type, shape and content do not fit together.
        UnsupportedLayerError: the type is none of :data:`DTYPES` (text, complex numbers).
    """
    if proto.dtype not in DTYPES:
        raise UnsupportedLayerError(
            f"a constant of the data type {proto.dtype} is not supported", where=where
        )
    dtype, field = DTYPES[proto.dtype]
    shape = bounded([dim.size for dim in proto.tensor_shape.dim], where)
    count = math.prod(shape)
    if proto.tensor_content:
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise ModelFileError(
                f"a constant of the shape {shape} has {len(proto.tensor_content)} bytes, "
                f"{count * dtype.itemsize} are due",
                where=where,
            )
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = getattr(proto, field)
    if len(values) > count:
        raise ModelFileError(f"a constant of the shape {shape} has too many values", where=where)
    given = np.asarray(values, np.uint16).view(dtype) if proto.dtype == _HALF else None
    given = np.asarray(values, dtype) if given is None else given
    if len(given) == count:
        return given.reshape(shape)
    last = given[-1] if len(given) else dtype.type(0)
    if len(given) <= 1:
        return np.broadcast_to(last, shape)
    return np.concatenate([given, np.broadcast_to(last, (count - len(given),))]).reshape(shape)


def _tensor_names(inputs: Sequence[str]) -> Iterator[str]:
    for name in inputs:
        if not name.startswith("^"):
            yield name if ":" in name else f"{name}:0"


def owner(tensor: str) -> str:
    """Name of the node that computes ``tensor``."""
    return tensor.rpartition(":")[0]


def read_nodes(graph: Any, source: str) -> dict[str, TfNode]:
    """The nodes of a GraphDef by name, in the order of the file.

    Raises:
        ModelFileError: nodes without a name, of the same name, too many of them, or reading
            tensors that do not exist.
    """
    if len(graph.node) > MAX_NODES:
        raise ModelFileError(f"has {len(graph.node)} nodes; {MAX_NODES} are read", where=source)
    nodes: dict[str, TfNode] = {}
    for proto in graph.node:
        if not proto.name or not proto.op or proto.name in nodes:
            what = f"the node {proto.name!r} has no name, no op, or the name of another"
            raise ModelFileError(what, where=source)
        inputs = tuple(_tensor_names(proto.input))
        nodes[proto.name] = TfNode(proto.name, proto.op, inputs, source, proto.attr)
    for node in nodes.values():
        for tensor in node.inputs:
            if owner(tensor) not in nodes or not tensor.rpartition(":")[2].isdecimal():
                raise ModelFileError(f"reads {tensor!r}, which does not exist", where=node.where)
    return nodes


def graph_order(
    nodes: Mapping[str, TfNode], outputs: Iterable[str], sources: Collection[str]
) -> tuple[TfNode, ...]:
    """What ``outputs`` need, in topological order.

    ``sources`` are ops and tensors that nobody looks behind: their nodes come without inputs.

    Raises:
        ModelFileError: the graph has a cycle.
    """
    order: list[TfNode] = []
    done: dict[str, bool] = {}
    stack = [(owner(tensor), False) for tensor in outputs]
    while stack:
        name, inputs_done = stack.pop()
        node = nodes[name]
        if node.op in sources or f"{name}:0" in sources:
            node = replace(node, inputs=())
        if inputs_done:
            done[name] = True
            order.append(node)
        elif name not in done:
            done[name] = False
            stack.append((name, True))
            stack += [(owner(tensor), False) for tensor in reversed(node.inputs)]
        elif not done[name]:
            raise ModelFileError("the graph runs in a circle", where=node.where)
    return tuple(order)
