"""Stage 1: a model file becomes a :class:`~mcu_export.graph.Graph`, read as data only.

The format is recognized by content, never by the file's name. Loaders are imported when they are
needed, so that the command line starts fast.
"""

from __future__ import annotations

import glob
import importlib
from dataclasses import dataclass
from pathlib import Path

from mcu_export.errors import ModelFileError
from mcu_export.graph import Graph
from mcu_export.loaders.base import MAX_FILE_BYTES
from mcu_export.quantgraph import QuantGraph


@dataclass(frozen=True)
class Format:
    """A file format: its name, how it is recognized, and the function that loads it."""

    name: str
    module: str
    recognizes: str
    function: str


# The first that recognizes the content wins; a .meta file looks much like a frozen graph.
FORMATS = (
    Format("TensorFlow Lite file", "tflite.network", "is_tflite", "load_tflite"),
    Format("Keras file (.keras, .h5)", "keras.model", "is_keras", "load_keras"),
    Format("SavedModel folder", "tf.saved_model", "is_saved_model", "load_saved_model"),
    Format("TensorFlow checkpoint with .meta", "tf.meta_graph", "is_meta_graph", "load_meta_graph"),
    Format("frozen TensorFlow graph (.pb)", "tf.graph", "is_graph_def", "load_frozen_graph"),
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
        path: a file or folder of one of ``FORMATS``; the content decides which. A checkpoint is
            named by its prefix or by any of its files.
        bn_epsilon: epsilon of every batch norm instead of the file's own.

    Raises:
        ModelFileError: the file is missing, damaged or of an unknown format.
        UnsupportedLayerError: it has a layer that mcu-export does not know.
    """
    path = Path(path)
    if path.is_file():
        _check_size(path)
    for known in FORMATS:
        module = importlib.import_module(f"mcu_export.loaders.{known.module}")
        if getattr(module, known.recognizes)(path):
            made = getattr(module, known.function)(path, bn_epsilon=bn_epsilon)
            loaded: Graph | QuantGraph = made
            return loaded
    if not path.exists():
        raise ModelFileError("there is no such file", where=str(path), fix="check the path")
    raise ModelFileError(
        "the format of the file is not known",
        where=str(path),
        fix="give a " + ", ".join(known.name for known in FORMATS),
    )


def _check_size(path: Path) -> None:
    """Refuse what is empty, or far larger than any network for a microcontroller."""
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        what = f"cannot read the model: {error.strerror}"
        raise ModelFileError(what, where=str(path), fix="check the permissions") from error
    if not size:
        raise ModelFileError("the file is empty", where=str(path), fix="save the model again")
    if size > MAX_FILE_BYTES:
        raise ModelFileError(
            f"the file has {size} bytes; at most {MAX_FILE_BYTES} are read",
            where=str(path),
            fix="a network for a microcontroller is far smaller: is this the right file?",
        )


def model_files(path: Path) -> list[Path]:
    """Every file that a model is made of: one, all of a folder, or those of a checkpoint."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    prefix = path.with_suffix("") if path.suffix in (".meta", ".index") else path
    parts = sorted(path.parent.glob(f"{glob.escape(prefix.name)}.data-*"))
    if not parts:
        return [path]
    whole = [path.parent / f"{prefix.name}{suffix}" for suffix in (".index", ".meta")]
    return [file for file in whole if file.is_file()] + parts
