"""A good Keras file and ways to spoil it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from keras import layers
from keras_oracle import sequential

from mcu_export.errors import ModelFileError
from mcu_export.loaders.keras.model import load_keras


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network as ``good.keras`` and ``good.h5``."""
    folder = tmp_path_factory.mktemp("good")
    model = sequential(
        (6, 6, 2), layers.Conv2D(3, 3, name="conv"), layers.Flatten(), layers.Dense(2, name="d")
    )
    for suffix in (".keras", ".h5"):
        model.save(folder / f"good{suffix}")
    return folder


def refused(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        load_keras(path)
    assert path.name in caught.value.where
    assert caught.value.exit_code == 3
    return caught.value


def touch(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def archive(path: Path, good: Path, **members: bytes | None) -> Path:
    """``good.keras`` with some members replaced, or left out."""
    names = {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(good / "good.keras") as old, zipfile.ZipFile(path, "w") as new:
        for key, name in names.items():
            content = members.get(key, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path
