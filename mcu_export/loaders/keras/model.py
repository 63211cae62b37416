"""Keras models: ``.keras`` archives and ``.h5`` files, of Keras 1 to 3, without Keras.

The configuration and the weights are read as data: no layer is built, no code from the file is
run, and files that newer versions of Keras refuse to load still load here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.graph import Graph
from mcu_export.loaders.keras.build import Built, build, require_supported
from mcu_export.loaders.keras.config import ModelSpec, parse_model
from mcu_export.loaders.keras.files import (
    CONFIG_MEMBER,
    MAX_FILE_BYTES,
    MAX_JSON_BYTES,
    METADATA_MEMBER,
    WEIGHTS_MEMBER,
    Json,
    damage_reported,
    is_hdf5,
    is_zip,
    parse_json,
    read_member,
    require_readable,
)
from mcu_export.loaders.keras.store import Hdf5Store
from mcu_export.loaders.keras.weights import ArchiveWeights, LegacyWeights, Weights
from mcu_export.trained_formats import MEMBER, TrainedFormats, parse_formats


def is_keras(path: Path) -> bool:
    """Whether the content is a Keras v3 archive or an HDF5 file; the name does not matter."""
    return is_zip(path) or is_hdf5(path)


@dataclass(frozen=True, eq=False)
class KerasFile:
    """A Keras file, opened.

    Attributes:
        where: its path, for messages.
        config: the configuration as the file has it.
        model: the same, in one form for all versions.
        weights: the arrays by layer.
        details: format and version.
        trained: formats that ``mcu-export finetune`` put into it.
    """

    where: str
    config: Json
    model: ModelSpec
    weights: Weights
    details: Mapping[str, Any]
    trained: TrainedFormats | None = None

    def build(self, bn_epsilon: float | None = None) -> Built:
        """The graph, and which layer made which of its nodes."""
        return build(self.model, self.weights, self.where, bn_epsilon, self.details)


def load_keras(path: Path, *, bn_epsilon: float | None = None) -> Graph:
    """The network in a ``.keras`` or ``.h5`` file.

    Args:
        path: the file; which of the two it is shows its content.
        bn_epsilon: replaces the epsilon of every batch norm.

    Raises:
        ModelFileError: the file is unreadable, damaged, or no Keras model.
        UnsupportedLayerError: the network has a layer that is not supported.
    """
    file = open_keras(path)
    return replace(file.build(bn_epsilon).graph, trained=file.trained)


def open_keras(path: Path) -> KerasFile:
    """A ``.keras`` or ``.h5`` file whose layers are all known; errors are those of loading."""
    path = Path(path)
    require_readable(path)
    if is_zip(path):
        return _open_archive(path)
    if is_hdf5(path):
        return _open_hdf5(path)
    raise ModelFileError(
        "the file is neither a .keras archive nor an HDF5 file",
        where=str(path),
        fix="save the model with model.save('name.keras') or model.save('name.h5')",
    )


def _open_archive(path: Path) -> KerasFile:
    where = str(path)
    with damage_reported(where), zipfile.ZipFile(path) as archive:
        config = parse_json(read_member(archive, CONFIG_MEMBER, MAX_JSON_BYTES, where), where)
        metadata = parse_json(read_member(archive, METADATA_MEMBER, MAX_JSON_BYTES, where), where)
        model = parse_model(config, where)
        require_supported(model, where)
        weights = read_member(archive, WEIGHTS_MEMBER, MAX_FILE_BYTES, where)
        trained = _trained_formats(archive, where)
    details = {"format": "keras v3", "keras_version": str(metadata.get("keras_version", ""))[:40]}
    store = Hdf5Store(weights, where)
    return KerasFile(where, config, model, ArchiveWeights(store, model), details, trained)


def _trained_formats(archive: zipfile.ZipFile, where: str) -> TrainedFormats | None:
    """What ``mcu-export finetune`` put into the archive."""
    if MEMBER not in archive.namelist():
        return None
    text = read_member(archive, MEMBER, MAX_JSON_BYTES, where)
    return parse_formats(parse_json(text, where), where)


def _open_hdf5(path: Path) -> KerasFile:
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
    config = parse_json(text, where)
    model = parse_model(config, where)
    require_supported(model, where)
    details = {"format": "keras h5", "keras_version": (version or "")[:40]}
    return KerasFile(where, config, model, LegacyWeights(store, model), details)
