"""Damaged and hostile files: one of our errors, little memory, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras import layers
from keras_bad_files import archive, good, refused, touch
from keras_oracle import sequential

from mcu_export.errors import McuExportError
from mcu_export.loaders.keras.model import is_keras, load_keras

__all__ = ["good"]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_truncated_files(suffix, good, tmp_path):
    whole = (good / f"good{suffix}").read_bytes()
    for size in (9, 100, 600, 2000, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path = tmp_path / f"cut{size}{suffix}"
        path.write_bytes(whole[:size])
        refused(path)
        assert is_keras(path) or size < 100


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_bytes_give_an_error_or_a_network(suffix, good, tmp_path):
    """Whatever is damaged: one of our errors, or nothing that matters."""
    whole = (good / f"good{suffix}").read_bytes()
    random = np.random.default_rng(3)
    path = tmp_path / f"damaged{suffix}"
    errors = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), int(random.integers(1, 30))):
            damaged[place] = int(random.integers(256))
        path.write_bytes(damaged)
        try:
            load_keras(path)
        except McuExportError:
            errors += 1
    assert errors > 10


def test_empty_missing_and_foreign_files(tmp_path):
    assert "empty" in str(refused(touch(tmp_path / "a.keras", b"")))
    assert "neither" in str(refused(touch(tmp_path / "b.h5", b"not a model at all")))
    assert "cannot read" in str(refused(tmp_path / "missing.h5"))
    assert "not a file" in str(refused(tmp_path))
    os.mkfifo(tmp_path / "pipe.h5")
    assert "not a file" in str(refused(tmp_path / "pipe.h5"))
    assert not any(is_keras(path) for path in (tmp_path, *tmp_path.iterdir()))


def test_weights_alone_are_no_model(tmp_path):
    model = sequential((4,), layers.Dense(3))
    model.save_weights(tmp_path / "a.weights.h5")
    assert "save_weights" in str(refused(tmp_path / "a.weights.h5"))


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"class_name": "Mine", "config": {}}',
        b'{"class_name": "Functional", "config": {}}',
        b'{"class_name": "Functional", "config": {"layers": 7}}',
        b'{"class_name": "Sequential", "config": []}',
        b'{"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense"}]}}',
        b'{"class_name": ' * 5000,
        b'{"a": ' * 500 + b"1" + b"}" * 500,
        b'{"class_name": "Sequential", "config": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_bad_configurations(config, good, tmp_path):
    refused(archive(tmp_path / "a.keras", good, config=config))


def test_missing_members(good, tmp_path):
    assert "model.weights.h5" in str(refused(archive(tmp_path / "a.keras", good, weights=None)))
    assert "config.json" in str(refused(archive(tmp_path / "b.keras", good, config=None)))
    refused(archive(tmp_path / "c.keras", good, weights=b"no hdf5"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value, good, tmp_path):
    path = touch(tmp_path / "a.h5", (good / "good.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv"]
        group[group.attrs["weight_names"][0]][0, 0, 0, 0] = value
    error = refused(path)
    assert "NaN" in error.what
    assert "'conv'" in error.where


def change_weights(path: Path, good: Path, change: Any) -> Path:
    """``good.h5`` after ``change(group of the layer conv, name of its kernel)``."""
    touch(path, (good / "good.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv"]
        change(group, group.attrs["weight_names"][0])
    return path


def no_kernel(group: Any, kernel: str) -> None:
    del group[kernel]


def no_names(group: Any, kernel: str) -> None:
    group.attrs["weight_names"] = np.asarray([kernel], "S99")


def integers(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group[kernel] = np.ones((3, 3, 2, 3), np.int8)


def texts(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group[kernel] = np.full((3, 3, 2, 3), b"text")


def other_shape(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group[kernel] = np.ones((3, 3, 3, 2), np.float32)


def nothing_in_it(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group[kernel] = h5py.Empty("f")


def huge(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group.create_dataset(kernel, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")


def external_link(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group[kernel] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group[kernel] = h5py.SoftLink("/model_weights")


def external_values(group: Any, kernel: str) -> None:
    no_kernel(group, kernel)
    group.create_dataset(kernel, (3, 3, 2, 3), "f4", external=[("/etc/passwd", 0, 216)])


def a_loop(group: Any, kernel: str) -> None:
    group["again"] = group


@pytest.mark.parametrize(
    "change",
    [
        no_kernel,
        no_names,
        integers,
        texts,
        other_shape,
        nothing_in_it,
        huge,
        external_link,
        soft_link,
        external_values,
        a_loop,
    ],
)
def test_bad_weights(change, good, tmp_path):
    refused(change_weights(tmp_path / "a.h5", good, change))


HOSTILE = """
import re, sys
from pathlib import Path
from mcu_export.errors import ModelFileError
from mcu_export.loaders.keras.model import load_keras

load_keras(Path(sys.argv[1]))
for path in sys.argv[2:]:
    try:
        load_keras(Path(path))
        print("loaded", path)
    except ModelFileError as error:
        print("refused", error.what)
for name in ("tensorflow", "keras", "h5py"):
    assert name not in sys.modules
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
"""


def zip_bomb(path: Path, member: str, size: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", "{}")
        if member != "config.json":
            file.writestr("config.json", '{"class_name": "Sequential", "config": []}')
        with file.open(member, "w", force_zip64=True) as stream:
            for _ in range(size >> 20):
                stream.write(bytes(1 << 20))
    return path


def chunk_bomb(path: Path, good: Path) -> Path:
    def change(group: Any, kernel: str) -> None:
        del group[kernel]
        data = group.create_dataset(
            kernel, (3, 3, 2, 3), "f4", chunks=(3, 3, 2, 1 << 24), maxshape=(3, 3, 2, None)
        )
        del data

    return change_weights(path, good, change)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_hostile_files_take_little_memory_and_no_library(good, tmp_path):
    lists = b'{"class_name": "Sequential", "config": [' + b"[]," * 1_300_000 + b"[]]}"
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file.attrs["model_config"] = "[" * (60 << 20)
    files = [
        zip_bomb(tmp_path / "bomb.keras", "model.weights.h5", 200 << 20),
        zip_bomb(tmp_path / "config.keras", "config.json", 200 << 20),
        archive(tmp_path / "lists.keras", good, config=lists),
        change_weights(tmp_path / "huge.h5", good, huge),
        chunk_bomb(tmp_path / "chunk.h5", good),
        tmp_path / "text.h5",
    ]
    command = [sys.executable, "-c", HOSTILE, good / "good.keras", *files]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root}
    )
    assert done.returncode == 0, done.stderr
    *answers, megabytes = done.stdout.splitlines()
    assert [answer.split()[0] for answer in answers] == ["refused"] * len(files)
    assert int(megabytes) < 512


def test_names_in_the_archive_lead_nowhere(good, tmp_path):
    """Members with other names are not looked at, wherever they would go."""
    path = archive(tmp_path / "a.keras", good)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("../../escaped.txt", "x")
        file.writestr("/tmp/escaped.txt", "x")
    before = sorted(tmp_path.rglob("*"))
    load_keras(path)
    assert sorted(tmp_path.rglob("*")) == before
