"""Writing a ``.keras`` archive: configuration, version, and the weights in HDF5."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from types import ModuleType

import numpy as np

from mcu_export.errors import McuExportError
from mcu_export.loaders.keras.config import ModelSpec, parse_model
from mcu_export.loaders.keras.files import CONFIG_MEMBER, METADATA_MEMBER, WEIGHTS_MEMBER, Json
from mcu_export.loaders.keras.weights import LayerPath, roles_of, snake_case
from mcu_export.ops import Array

WHEN = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same network
Arrays = Mapping[LayerPath, Mapping[str, Array]]


def archive_bytes(config: Json, version: str, arrays: Arrays) -> bytes:
    """The archive.

    Args:
        config: the model as Keras 3 serializes it, its layers in the order that Keras gives them.
        version: that of Keras.
        arrays: the weights of each layer by role.

    Raises:
        McuExportError: h5py is not installed.
    """
    weights = _weights(parse_model(config, CONFIG_MEMBER), arrays)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in (
            (METADATA_MEMBER, json.dumps({"keras_version": version})),
            (CONFIG_MEMBER, json.dumps(config)),
            (WEIGHTS_MEMBER, weights),
        ):
            archive.writestr(zipfile.ZipInfo(name, WHEN), data)
    return content.getvalue()


def _weights(model: ModelSpec, arrays: Arrays) -> bytes:
    content = io.BytesIO()
    with _h5py().File(content, "w") as file:
        file.create_group("vars").attrs["name"] = model.name
        for place, name, variables in _places(model, arrays, (), ""):
            group = file.create_group(f"{place}/vars")
            group.attrs["name"] = name
            for number, array in enumerate(variables):
                group.create_dataset(str(number), data=array)
    return content.getvalue()


def _places(
    model: ModelSpec, arrays: Arrays, path: LayerPath, group: str
) -> Iterator[tuple[str, str, list[Array]]]:
    """Group, name and weights of each layer: ``layers/<class in snake case>_<count>``."""
    counts: Counter[str] = Counter()
    for layer in model.layers:
        stem = snake_case(layer.stored_class)
        place = f"{group}layers/{stem}_{counts[stem]}" if counts[stem] else f"{group}layers/{stem}"
        counts[stem] += 1
        here = (*path, layer.name)
        if layer.model is not None:
            yield place, layer.name, []
            yield from _places(layer.model, arrays, here, f"{place}/")
            continue
        variables = [_variable(arrays[here][role.name], role.name) for role in roles_of(layer)]
        if layer.wrapped is None:
            yield place, layer.name, variables
        else:
            yield place, layer.name, []
            yield f"{place}/layer", layer.wrapped.name, variables


def _variable(array: Array, role: str) -> Array:
    return np.asarray(array, np.int64 if role == "count" else np.float32)


def _h5py() -> ModuleType:
    try:
        import h5py  # noqa: PLC0415
    except ImportError as error:
        raise McuExportError(
            "writing a .keras file needs h5py", fix="pip install 'mcu-export[keras]', or h5py"
        ) from error
    module: ModuleType = h5py
    return module
