"""Random damage to a network of many layers: one of our errors, or a network."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from keras_oracle import randomize

from mcu_export.errors import McuExportError
from mcu_export.graph import check
from mcu_export.loaders.keras.model import load_keras

QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# What a hostile or broken writer might put in the place of any setting.
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([1 << 31, -(1 << 63), 10**30, 1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "same", "linear", "gelu", "LeakyReLU", "__tuple__", "x" * 300]),
    st.lists(st.integers(-2, 9), max_size=4),
    st.dictionaries(st.sampled_from(["value", "config", "class_name", "start"]), st.integers(0, 3)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole.keras`` and ``whole.h5`` with most kinds of layers."""
    source = keras.Input((6, 5, 4))
    y = layers.Conv2D(6, 3, groups=2, padding="same", activation="silu")(source)
    y = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(y))
    y = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(y)
    y = layers.Concatenate()([layers.UpSampling2D()(source), y])
    y = layers.Cropping2D(((1, 0), (0, 2)))(layers.LeakyReLU(0.2)(y))
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalMaxPooling2D()(y))
    y = layers.Permute((2, 1, 3))(layers.Multiply()([y, layers.Reshape((1, 1, 8))(gate)]))
    made = tmp_path_factory.mktemp("whole")
    average = layers.Average()([layers.Flatten()(y), layers.Flatten()(layers.ELU()(y))])
    randomize(keras.Model(source, layers.Dense(3)(average))).save(made / "whole.h5")
    a, b = ops.split(y[:, 1:, ::2], 2, axis=-1)
    y = layers.Flatten()(ops.maximum(a, b) * ops.sigmoid(a) + 0.5)
    randomize(keras.Model(source, [layers.Dense(3)(y), average])).save(made / "whole.keras")
    for name in ("whole.h5", "whole.keras"):
        load_keras(made / name)
    return made


def harmless(path: Path) -> None:
    """Whatever is in the file: a checked graph, or an error with a way out."""
    try:
        graph = load_keras(path)
    except McuExportError as error:
        assert error.exit_code in (3, 4), error
        assert str(path) in error.where
        return
    check(graph, "fuzz")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside of ``value``."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


@QUICK
@given(data=st.data())
def test_settings_of_any_kind(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(folder / "whole.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = copy.deepcopy(json.loads(members["config.json"]))
    everywhere = list(places(config))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(everywhere))
        holder = config
        try:
            for key in way:
                holder = holder[key]
            holder[last] = data.draw(JUNK)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change cut the way off
    members["config.json"] = json.dumps(config).encode()
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    harmless(path)


@QUICK
@given(data=st.data())
def test_bytes_of_any_value(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((folder / "whole.h5").read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        # The metadata is what matters: most of it lies at the start.
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 4000))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(9, len(content))) :]
    path = tmp_path / "changed.h5"
    path.write_bytes(content)
    harmless(path)
