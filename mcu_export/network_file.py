"""``NAME_reference.npz``: the quantized network as a file, for ``run``, ``verify``, ``evaluate``.

A zip of numpy arrays and one JSON text; no pickles. The same network gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.graph import Graph, Node, Tensor, check
from mcu_export.ops import OPS, Limits, Padding
from mcu_export.ops.base import Array, Op
from mcu_export.quantgraph import QuantGraph, QuantNode
from mcu_export.schemes import arithmetic, formats
from mcu_export.version import ABI

STRUCTURE = "network.json"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold: the same bytes at any time
INTEGERS = (np.int8, np.int16, np.int32, np.int64)

_TYPES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (*OPS.values(), Limits, Padding, *arithmetic.KINDS, *formats.KINDS)
}


def write_network(quant: QuantGraph, samples: Mapping[str, Array]) -> bytes:
    """The content of the file for ``quant``, with integer ``samples`` to verify it on."""
    arrays = {
        f"sample.{index}": _narrow(samples[tensor.name])
        for index, tensor in enumerate(quant.graph.inputs)
    }
    nodes = []
    for index, layer in enumerate(quant.nodes):
        for key, array in layer.node.params.items():
            arrays[f"{index}.float.{key}"] = np.asarray(array)
        for key, array in layer.params.items():
            arrays[f"{index}.integer.{key}"] = _narrow(np.asarray(array))
        nodes.append(
            {
                "name": layer.name,
                "inputs": layer.node.inputs,
                "shape": layer.node.shape,
                "op": _encode(layer.node.op),
                "format": _encode(layer.format),
                "arithmetic": _encode(layer.arithmetic),
                "param_formats": {k: _encode(f) for k, f in layer.param_formats.items()},
            }
        )
    graph = quant.graph
    structure = {
        "abi": ABI,
        "scheme": quant.scheme,
        "inputs": [[tensor.name, tensor.shape] for tensor in graph.inputs],
        "input_formats": {name: _encode(fmt) for name, fmt in quant.input_formats.items()},
        "nodes": nodes,
        "outputs": graph.outputs,
    }
    return _zip(structure, arrays)


def read_network(path: Path) -> tuple[QuantGraph, dict[str, Array]]:
    """The network in a file that :func:`write_network` made, and its samples.

    Raises:
        ModelFileError: it is missing, damaged, or of another version of mcu-export.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            structure = json.loads(archive.read(STRUCTURE))
            arrays = {
                name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)))
                for name in archive.namelist()
                if name != STRUCTURE
            }
        if structure["abi"] != ABI:
            raise ModelFileError(
                f"made by another mcu-export (ABI {structure['abi']}, this one has {ABI})",
                where=str(path),
                fix="export again",
            )
        quant = _network(structure, arrays)
        samples = {
            tensor.name: arrays[f"sample.{index}"].astype(np.int64)
            for index, tensor in enumerate(quant.graph.inputs)
        }
        _check(quant, samples)
    except ModelFileError:
        raise
    except Exception as error:  # whatever damage does to zip, JSON, numpy and our own tables
        raise ModelFileError(
            f"cannot read the exported network ({error})", where=str(path), fix="export again"
        ) from error
    return quant, samples


def _check(quant: QuantGraph, samples: Mapping[str, Array]) -> None:
    """Raise where the parts of the file do not fit together."""
    check(quant.graph, "the exported network")
    of_type: list[tuple[object, tuple[type, ...]]] = [(quant.scheme, (str,))]
    of_type += [(fmt, formats.KINDS) for fmt in quant.formats().values()]
    for layer in quant.nodes:
        of_type += [(layer.node.op, (Op,)), (layer.arithmetic, arithmetic.KINDS)]
        of_type += [(fmt, formats.KINDS) for fmt in layer.param_formats.values()]
    wrong = [value for value, kinds in of_type if not isinstance(value, kinds)]
    shapes = {name: array.shape[1:] for name, array in samples.items()}
    if wrong or shapes != {tensor.name: tensor.shape for tensor in quant.graph.inputs}:
        raise ValueError(f"parts do not fit together: {wrong or shapes}")


def _network(structure: dict[str, Any], arrays: Mapping[str, Array]) -> QuantGraph:
    layers = []
    for index, entry in enumerate(structure["nodes"]):
        found = {"float": {}, "integer": {}}  # type: dict[str, dict[str, Array]]
        for name, array in arrays.items():
            number, _, rest = name.partition(".")
            if number == str(index):
                kind, _, key = rest.partition(".")
                found[kind][key] = array.astype(np.int64) if kind == "integer" else array
        node = Node(
            entry["name"],
            _decode(entry["op"]),
            tuple(entry["inputs"]),
            tuple(entry["shape"]),
            found["float"],
        )
        layers.append(
            QuantNode(
                node,
                _decode(entry["format"]),
                _decode(entry["arithmetic"]),
                found["integer"],
                {key: _decode(value) for key, value in entry["param_formats"].items()},
            )
        )
    graph = Graph(
        tuple(Tensor(name, tuple(shape)) for name, shape in structure["inputs"]),
        tuple(layer.node for layer in layers),
        tuple(structure["outputs"]),
    )
    input_formats = {name: _decode(value) for name, value in structure["input_formats"].items()}
    return QuantGraph(graph, structure["scheme"], input_formats, tuple(layers))


def _narrow(array: Array) -> Array:
    """The integers in the narrowest type that holds them."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for dtype in INTEGERS:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    raise OverflowError(f"no integer type for {low} .. {high}")


def _encode(value: Any) -> Any:
    """A dataclass as a dict that names its type; tuples as lists."""
    if is_dataclass(value):
        return {
            "is": type(value).__name__,
            **{f.name: _encode(getattr(value, f.name)) for f in fields(value)},
        }
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return _TYPES[value["is"]](**{k: _decode(v) for k, v in value.items() if k != "is"})
    return tuple(_decode(item) for item in value) if isinstance(value, list) else value


def _zip(structure: dict[str, Any], arrays: Mapping[str, Array]) -> bytes:
    members = {STRUCTURE: json.dumps(structure, indent=1).encode()}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, ZIP_DATE)
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
