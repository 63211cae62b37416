"""A GraphDef as Python sees it: nodes with typed attributes, and constants as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcu_export.errors import ModelFileError, UnsupportedLayerError
from mcu_export.loaders.base import MAX_ELEMENTS, MAX_NODES
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
    """One NodeDef. ``inputs`` are tensors ``node:index``, ``controls`` names of nodes.

    An attribute that is absent has the default of its op: TensorFlow strips defaults from files.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    source: str
    attrs: Any
    controls: tuple[str, ...] = ()

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

    def texts(self, key: str) -> tuple[str, ...]:
        """An attribute of type tensor that holds strings; empty where it holds anything else."""
        value = self._scalar(key, "tensor", None)
        strings = () if value is None else value.string_val
        return tuple(bytes(text).decode("utf-8", "replace") for text in strings)

    def function(self, key: str) -> str:
        """Name of the function that an attribute of type func holds; empty where there is none."""
        value = self._scalar(key, "func", None)
        return "" if value is None else str(value.name)

    def _scalar(self, key: str, field: str, default: Any) -> Any:
        if key not in self.attrs:
            return default
        attr = self.attrs[key]
        if attr.WhichOneof("value") != field:
            raise ModelFileError(f"the attribute {key!r} is of the wrong type", where=self.where)
        return getattr(attr, field)


@dataclass(frozen=True, eq=False)
class TfGraph:
    """Nodes by name, and the tensors that are wanted of them."""

    nodes: Mapping[str, TfNode]
    outputs: tuple[str, ...]
    source: str

    def replaced(
        self, nodes: Mapping[str, TfNode], aliases: Mapping[str, str] | None = None
    ) -> TfGraph:
        """A graph of other nodes; tensors in ``aliases`` are read from elsewhere."""
        names = dict(aliases or {})
        rewired = {
            name: replace(node, inputs=tuple(resolve(tensor, names) for tensor in node.inputs))
            for name, node in nodes.items()
        }
        outputs = tuple(resolve(tensor, names) for tensor in self.outputs)
        return TfGraph(rewired, outputs, self.source)


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


def owner(tensor: str) -> str:
    """Name of the node that computes ``tensor``."""
    return tensor.rpartition(":")[0]


def read_nodes(protos: Collection[Any], source: str) -> dict[str, TfNode]:
    """The nodes of a GraphDef by name, in the order of the file; reads are not checked yet.

    Raises:
        ModelFileError: nodes without a name, of the same name, or too many of them.
    """
    if len(protos) > MAX_NODES:
        raise ModelFileError(f"has {len(protos)} nodes; {MAX_NODES} are read", where=source)
    nodes: dict[str, TfNode] = {}
    for proto in protos:
        if not proto.name or not proto.op or proto.name in nodes:
            what = f"the node {proto.name!r} has no name, no op, or the name of another"
            raise ModelFileError(what, where=source)
        tensors = [name for name in proto.input if not name.startswith("^")]
        inputs = tuple(name if ":" in name else f"{name}:0" for name in tensors)
        controls = tuple(name[1:] for name in proto.input if name.startswith("^"))
        nodes[proto.name] = TfNode(proto.name, proto.op, inputs, source, proto.attr, controls)
    return nodes


def check_reads(graph: TfGraph) -> TfGraph:
    """The graph itself, once it is seen that every tensor it reads exists."""
    for node in graph.nodes.values():
        for tensor in node.inputs:
            if owner(tensor) not in graph.nodes or not tensor.rpartition(":")[2].isdecimal():
                raise ModelFileError(f"reads {tensor!r}, which does not exist", where=node.where)
    for tensor in graph.outputs:
        if owner(tensor) not in graph.nodes:
            raise ModelFileError(f"the output {tensor!r} does not exist", where=graph.source)
    return graph


def resolve(tensor: str, aliases: dict[str, str]) -> str:
    """What ``tensor`` stands for, through any number of aliases; shortens the chain."""
    path: list[str] = []
    while tensor in aliases:
        if len(path) > len(aliases):
            raise ModelFileError(f"the graph runs in a circle at {tensor!r}")
        path.append(tensor)
        tensor = aliases[tensor]
    aliases.update(dict.fromkeys(path, tensor))
    return tensor


def inference_order(graph: TfGraph, sources: Collection[str] = ()) -> tuple[TfNode, ...]:
    """What the outputs need, in topological order.

    ``sources`` are ops and tensors that nobody looks behind: their nodes come without inputs.

    Raises:
        ModelFileError: the graph has a cycle.
    """

    def behind(node: TfNode) -> tuple[str, ...]:
        return () if node.op in sources or f"{node.name}:0" in sources else node.inputs

    roots = [owner(tensor) for tensor in graph.outputs]
    order = walk(graph.nodes, roots, lambda node: map(owner, behind(node)))
    return tuple(replace(node, inputs=behind(node)) for node in order)


def ancestors(nodes: Mapping[str, TfNode], tensors: Iterable[str]) -> dict[str, TfNode]:
    """The nodes that ``tensors`` need, by name; the graph may have cycles."""
    pending, found = [owner(tensor) for tensor in tensors], dict[str, TfNode]()
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = nodes[name]
            pending += [owner(tensor) for tensor in nodes[name].inputs]
    return found


def walk(
    nodes: Mapping[str, TfNode],
    roots: Iterable[str],
    before: Callable[[TfNode], Iterable[str]],
) -> list[TfNode]:
    """The nodes that ``roots`` need, each after all that ``before`` names for it.

    Raises:
        ModelFileError: the graph has a cycle.
    """
    order: list[TfNode] = []
    done: dict[str, bool] = {}
    stack = [(name, False) for name in roots]
    while stack:
        name, inputs_done = stack.pop()
        node = nodes[name]
        if inputs_done:
            done[name] = True
            order.append(node)
        elif name not in done:
            done[name] = False
            stack.append((name, True))
            stack += [(other, False) for other in reversed(list(before(node)))]
        elif not done[name]:
            raise ModelFileError("the graph runs in a circle", where=node.where)
    return order
