"""Stage 1: a model file becomes a :class:`~mcu_export.graph.Graph`, read as data only.

The format is recognized by content, never by the file's name. Loaders are imported when they are
needed, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcu_export.errors import ModelFileError
from mcu_export.graph import Graph
from mcu_export.load.base import MAX_FILE_BYTES
from mcu_export.quantgraph import QuantGraph

HEAD_BYTES = 4096
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Format:
    """A file format: how its first bytes look, and the function that loads it."""

    name: str
    recognizes: Callable[[bytes], bool]
    module: str
    function: str


def _is_protobuf(head: bytes) -> bool:
    """A GraphDef starts with field 1 (a node), a library or the versions."""
    return head[:1] in (b"\x0a", b"\x12", b"\x22")


FORMATS = (
    Format("TensorFlow Lite file", lambda head: head[4:8] == b"TFL3", "tflite", "load_tflite"),
    Format("Keras archive", lambda head: head.startswith(b"PK"), "keras", "load_keras"),
    Format("Keras HDF5", lambda head: HDF5_MAGIC in head, "keras", "load_keras"),
    Format("frozen TensorFlow graph", _is_protobuf, "tf_graph", "load_frozen_graph"),
)


def load(path: str | Path, *, bn_epsilon: float | None = None) -> Graph:
    """The float network in a model file; of a quantized one the real values of its integers.

    Arguments and errors are those of :func:`load_network`.
    """
    loaded = load_network(path, bn_epsilon=bn_epsilon)
    return loaded.graph if isinstance(loaded, QuantGraph) else loaded


def load_network(path: str | Path, *, bn_epsilon: float | None = None) -> Graph | QuantGraph:
    """The network in a model file, with all layers of the file, quantized if the file is.

    Args:
        path: a ``.keras``, ``.h5``, frozen ``.pb`` or ``.tflite`` file; the content decides.
        bn_epsilon: epsilon of every batch norm instead of the file's own.

    Raises:
        ModelFileError: the file is missing, damaged or of an unknown format.
        UnsupportedLayerError: it has a layer that mcu-export does not know.
    """
    path = Path(path)
    head = _head(path)
    for known in FORMATS:
        if known.recognizes(head):
            module = importlib.import_module(f"mcu_export.load.{known.module}")
            loaded: Graph | QuantGraph = getattr(module, known.function)(
                path, bn_epsilon=bn_epsilon
            )
            return loaded
    raise ModelFileError(
        "the format of the file is not known",
        where=str(path),
        fix="give " + ", ".join(f"a {known.name}" for known in FORMATS),
    )


def _head(path: Path) -> bytes:
    """The first bytes of the file, once its size is seen to be sane."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model: {error.strerror}",
            where=str(path),
            fix="check the path; a model is a file",
        ) from error
    if not head:
        raise ModelFileError("the file is empty", where=str(path), fix="save the model again")
    if size > MAX_FILE_BYTES:
        raise ModelFileError(
            f"the file has {size} bytes; at most {MAX_FILE_BYTES} are read",
            where=str(path),
            fix="a network for a microcontroller is far smaller: is this the right file?",
        )
    return head
