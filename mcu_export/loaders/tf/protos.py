"""TensorFlow's protocol buffers, as far as the loaders read them, without TensorFlow.

The messages are declared in a table (field numbers from TensorFlow's public ``.proto`` files) and
live in a descriptor pool of their own, so they never clash with TensorFlow's where both are
imported. Fields that are not declared are skipped.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from mcu_export.errors import ModelFileError
from mcu_export.loaders.base import MAX_FILE_BYTES

_PACKAGE = "mcu_export.tensorflow"

# message -> fields "name = number type"; "*" marks a repeated field, "{}" a map from string.
_MESSAGES: dict[str, str] = {
    "Dim": "size=1 int64; name=2 string",
    "TensorShapeProto": "dim=2 *Dim; unknown_rank=3 bool",
    "TensorProto": (
        "dtype=1 int32; tensor_shape=2 TensorShapeProto; tensor_content=4 bytes;"
        "float_val=5 *float; double_val=6 *double; int_val=7 *int32; string_val=8 *bytes;"
        "int64_val=10 *int64; bool_val=11 *bool; half_val=13 *int32; uint32_val=16 *uint32;"
        "uint64_val=17 *uint64"
    ),
    "ListValue": (
        "s=2 *bytes; i=3 *int64; f=4 *float; b=5 *bool; type=6 *int32; shape=7 *TensorShapeProto"
    ),
    "NameAttrList": "name=1 string; attr=2 {}AttrValue",
    "AttrValue": (
        "list=1 ListValue; s=2 bytes; i=3 int64; f=4 float; b=5 bool; type=6 int32;"
        "shape=7 TensorShapeProto; tensor=8 TensorProto; placeholder=9 string; func=10 NameAttrList"
    ),
    "NodeDef": "name=1 string; op=2 string; input=3 *string; device=4 string; attr=5 {}AttrValue",
    "ArgDef": "name=1 string; type=3 int32; type_attr=4 string; number_attr=5 string",
    "OpDef": "name=1 string; input_arg=2 *ArgDef; output_arg=3 *ArgDef",
    "FunctionDef": "signature=1 OpDef; node_def=3 *NodeDef; ret=4 {}string; attr=5 {}AttrValue",
    "FunctionDefLibrary": "function=1 *FunctionDef",
    "VersionDef": "producer=1 int32; min_consumer=2 int32",
    "GraphDef": "node=1 *NodeDef; library=2 FunctionDefLibrary; versions=4 VersionDef",
    "TensorInfo": "name=1 string; dtype=2 int32; tensor_shape=3 TensorShapeProto",
    "SignatureDef": "inputs=1 {}TensorInfo; outputs=2 {}TensorInfo; method_name=3 string",
    "MetaInfoDef": "meta_graph_version=1 string; tags=4 *string; tensorflow_version=5 string",
    "MetaGraphDef": (
        "meta_info_def=1 MetaInfoDef; graph_def=2 GraphDef; signature_def=5 {}SignatureDef"
    ),
    "SavedModel": "saved_model_schema_version=1 int64; meta_graphs=2 *MetaGraphDef",
    "SliceExtent": "start=1 int64; length=2 int64",
    "TensorSliceProto": "extent=1 *SliceExtent",
    "BundleHeaderProto": "num_shards=1 int32; endianness=2 int32; version=3 VersionDef",
    "BundleEntryProto": (
        "dtype=1 int32; shape=2 TensorShapeProto; shard_id=3 int32; offset=4 int64; size=5 int64;"
        "crc32c=6 fixed32; slices=7 *TensorSliceProto"
    ),
}

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: dict[str, int] = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in (
        *("int32", "int64", "uint32", "uint64", "fixed32"),
        *("float", "double", "bool", "string", "bytes"),
    )
}


def _add_field(owner: Any, name: str, number: int, kind: str) -> None:
    repeated = kind[0] == "*" or kind[:2] == "{}"
    field = owner.field.add(
        name=name,
        number=number,
        label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
    )
    value_kind = kind.lstrip("*{}")
    if kind[:2] == "{}":
        entry_name = name.title().replace("_", "") + "Entry"
        entry = owner.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, value_kind)
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{owner.name}.{entry_name}"
    elif value_kind in _SCALARS:
        field.type = _SCALARS[value_kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{value_kind}"


@lru_cache(maxsize=1)
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="mcu_export/tensorflow.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        owner = file.message_type.add(name=name)
        for field in fields.split(";"):
            head, kind = field.split()
            field_name, number = head.split("=")
            _add_field(owner, field_name, int(number), kind)
        if name == "AttrValue":
            _make_oneof(owner, "value")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _make_oneof(owner: Any, name: str) -> None:
    """All fields of the message become one oneof, so that an absent 0 is told from a set 0."""
    owner.oneof_decl.add(name=name)
    for field in owner.field:
        field.oneof_index = 0


def new(kind: str) -> Any:
    """An empty message of that kind (a name of TensorFlow's, such as ``GraphDef``)."""
    descriptor = _pool().FindMessageTypeByName(f"{_PACKAGE}.{kind}")
    return message_factory.GetMessageClass(descriptor)()


def parse(kind: str, data: bytes, source: str) -> Any:
    """``data`` as a message of that kind.

    Raises:
        ModelFileError: the bytes are no such message; ``source`` says where they came from.
    """
    result = new(kind)
    try:
        result.ParseFromString(data)
    except (message.DecodeError, ValueError) as error:
        raise ModelFileError(
            f"not a {kind} of TensorFlow, or cut off: {error}",
            where=source,
            fix="copy or save the file again",
        ) from error
    return result


def read_bytes(path: Path) -> bytes:
    """The content of a file of plausible size; ``ModelFileError`` where it cannot be had."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelFileError(f"is larger than {MAX_FILE_BYTES} bytes", where=path.name)
        return path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ModelFileError(what, where=str(path), fix="check the path") from error
