"""Keras models: ``.keras`` archives and ``.h5`` files, of Keras 1 to 3, without Keras.

The configuration and the weights are read as data: no layer is built, no code from the file is
run, and files that newer versions of Keras refuse to load still load here.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from mcu_export.errors import ModelFileError
from mcu_export.graph import Graph
from mcu_export.loaders.keras.build import build_graph, require_supported
from mcu_export.loaders.keras.config import parse_model
from mcu_export.loaders.keras.files import (
    CONFIG_MEMBER,
    MAX_FILE_BYTES,
    MAX_JSON_BYTES,
    METADATA_MEMBER,
    WEIGHTS_MEMBER,
    damage_reported,
    is_hdf5,
    is_zip,
    parse_json,
    read_member,
    require_readable,
)
from mcu_export.loaders.keras.store import Hdf5Store
from mcu_export.loaders.keras.weights import ArchiveWeights, LegacyWeights


def is_keras(path: Path) -> bool:
    """Whether the content is a Keras v3 archive or an HDF5 file; the name does not matter."""
    return is_zip(path) or is_hdf5(path)


def load_keras(path: Path, *, bn_epsilon: float | None = None) -> Graph:
    """The network in a ``.keras`` or ``.h5`` file.

    Args:
        path: the file; which of the two it is shows its content.
        bn_epsilon: replaces the epsilon of every batch norm.

    Raises:
        ModelFileError: the file is unreadable, damaged, or no Keras model.
        UnsupportedLayerError: the network has a layer that is not supported.
    """
    path = Path(path)
    require_readable(path)
    if is_zip(path):
        return _load_archive(path, bn_epsilon)
    if is_hdf5(path):
        return _load_hdf5(path, bn_epsilon)
    raise ModelFileError(
        "the file is neither a .keras archive nor an HDF5 file",
        where=str(path),
        fix="save the model with model.save('name.keras') or model.save('name.h5')",
    )


def _load_archive(path: Path, bn_epsilon: float | None) -> Graph:
    where = str(path)
    with damage_reported(where), zipfile.ZipFile(path) as archive:
        config = parse_json(read_member(archive, CONFIG_MEMBER, MAX_JSON_BYTES, where), where)
        metadata = parse_json(read_member(archive, METADATA_MEMBER, MAX_JSON_BYTES, where), where)
        model = parse_model(config, where)
        require_supported(model, where)
        weights = read_member(archive, WEIGHTS_MEMBER, MAX_FILE_BYTES, where)
    details = {"format": "keras v3", "keras_version": str(metadata.get("keras_version", ""))[:40]}
    store = Hdf5Store(weights, where)
    return build_graph(model, ArchiveWeights(store, model), where, bn_epsilon, details)


def _load_hdf5(path: Path, bn_epsilon: float | None) -> Graph:
    where = str(path)
    with damage_reported(where):
        content = path.read_bytes()
    store = Hdf5Store(content, where)
    text = store.configuration()
    if text is None:
        raise ModelFileError(
            "the file holds no model configuration, only weights at best",
            where=where,
            fix="save the whole model with model.save(), not model.save_weights()",
        )
    version = store.attribute("", "keras_version")
    if version is None and store.has_group("model_weights"):
        version = store.attribute("model_weights", "keras_version")
    model = parse_model(parse_json(text, where), where)
    require_supported(model, where)
    details = {"format": "keras h5", "keras_version": (version or "")[:40]}
    return build_graph(model, LegacyWeights(store, model), where, bn_epsilon, details)
