"""``export``: files, manifest, the same bytes everywhere, --check, --depfile, --dump."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from tests.cli.tool import (
    EXPORT_KEYS,
    LAYER_KEYS,
    MODEL,
    snapshot,
)
from tests.helpers import KWS, ROOT, run


def test_export_writes_six_files_and_says_so(cli, small_samples: str, tmp_path: Path) -> None:
    done = cli("export", MODEL, "-o", tmp_path / "out", "--samples", small_samples)
    assert (done.code, done.err) == (0, "")
    names = {"kws.c", "kws.h", "kws_weights.h", "kws_test.h", "kws.json", "kws_reference.npz"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    assert all(name in done.out for name in names)
    again = cli("export", MODEL, "-o", tmp_path / "out", "--samples", small_samples)
    assert "all files are up to date" in again.out


def test_export_json_is_the_manifest(cli, small_samples: str, tmp_path: Path) -> None:
    done = cli("export", MODEL, "-o", tmp_path, "--samples", small_samples, "--json")
    facts = done.json()
    assert facts == json.loads((tmp_path / "kws.json").read_text())
    assert facts.keys() >= EXPORT_KEYS
    assert facts["memory"].keys() >= {"ram", "arena", "scratch", "weights"}
    for layer in facts["layers"]:
        assert layer.keys() >= LAYER_KEYS
        if layer["op"] in ("conv2d", "depthwise_conv2d", "dense"):
            assert 0 < layer["accumulator_bound"] < 2**31
            assert layer["bias_shift"] >= 0
            assert layer["out_shift"] >= 0
            assert "weights_frac_bits" in layer
    assert facts["memory"]["ram"] >= max(
        np.prod(port["shape"]) for port in facts["inputs"] + facts["outputs"]
    )


def test_labels_of_the_samples(cli, tmp_path: Path) -> None:
    with np.load(KWS / "calibration.npz") as file:
        few = {"x": file["features"][:40], "y": file["labels"][:40], "strange": np.full(40, 12)}
    np.savez(tmp_path / "few.npz", **few)
    samples = ("--samples", f"{tmp_path / 'few.npz'}:x", "-o", tmp_path / "out")
    for key, code, told in (
        ("y", 0, ""),
        ("x", 5, "no array of 40 labels"),
        ("strange", 5, "there is a label 12, and the network has 12 classes"),
    ):
        labels = ("--sample-labels", f"{tmp_path / 'few.npz'}:{key}")
        done = cli("export", MODEL, *samples, *labels)
        assert (done.code, told in done.err) == (code, True), key


def test_two_exports_give_the_same_bytes_wherever_they_are(
    exported: Path, small_samples: str, tmp_path: Path
) -> None:
    """Other folder, other process, other hash seed."""
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = ["-m", "mcu_export", "export", MODEL, "-o", folder, "--samples", small_samples]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        done = run([sys.executable, *command], env=environment)
        assert done.returncode == 0, done.stderr
        for path in exported.iterdir():
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_nothing_in_an_export_names_this_machine(exported: Path) -> None:
    for path in exported.iterdir():
        for text in (str(KWS), str(ROOT), str(Path.home()), "/tmp"):
            assert text.encode() not in path.read_bytes(), path.name


def test_check(cli, exported: Path, small_samples: str, tmp_path: Path) -> None:
    arguments = ("export", MODEL, "--samples", small_samples, "--check", "-o")
    before = snapshot(exported)
    assert cli(*arguments, exported).code == 0
    stale = cli(*arguments, exported, "--calibration", "minmax")
    assert stale.code == 9
    assert "kws_weights.h" in stale.err
    assert snapshot(exported) == before
    missing = cli(*arguments, tmp_path / "none")
    assert missing.code == 9
    assert not (tmp_path / "none").exists()


def test_dump_and_depfile(cli, small_samples: str, tmp_path: Path) -> None:
    done = cli(
        *("export", MODEL, "-o", tmp_path / "out", "--samples", small_samples),
        *("--depfile", tmp_path / "d" / "net.d", "--depfile-target", "x.stamp"),
        *("--dump", tmp_path / "dump", "--labels", KWS / "labels.txt"),
    )
    assert done.code == 0
    text = (tmp_path / "d" / "net.d").read_text()
    assert text.startswith("x.stamp: ")
    for source in (MODEL, small_samples, str(KWS / "labels.txt"), "version.py"):
        assert source in text
    dumps = {path.name: path.read_text() for path in (tmp_path / "dump").iterdir()}
    first = next(name for name in dumps if name.startswith("0_"))
    assert "batch_norm" in dumps[first]
    last = max(dumps, key=lambda name: int(name.split("_")[0]))
    assert "batch_norm" not in dumps[last]
    assert len(json.loads((tmp_path / "out" / "kws.json").read_text())["labels"]) == 12


def test_every_fold_is_printed(cli, small_samples: str, tmp_path: Path) -> None:
    done = cli("export", MODEL, "-o", tmp_path, "--samples", small_samples)
    folds = json.loads((tmp_path / "kws.json").read_text())["folds"]
    assert folds
    for fold in folds:
        assert f"folded {fold['batch_norm']} into {fold['into']}" in done.out
        assert fold["difference"] < 1e-4
