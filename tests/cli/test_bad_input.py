"""Bad input: exit codes, messages, and that a failure changes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.cli.tool import (
    CALIBRATION,
    MODEL,
    TEST,
    assert_error,
    snapshot,
)


def broken_model(folder: Path, what: str) -> Path:
    content = Path(MODEL).read_bytes()
    made = folder / "bad.keras"
    if what == "folder":
        made.mkdir()
        return made
    contents = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "head only": content[:100],
        "text": b"this is no model\n" * 50,
        "zip of nothing": b"PK\x05\x06" + b"\0" * 18,
        "hdf5 head": b"\x89HDF\r\n\x1a\n" + b"\xff" * 200,
        "protobuf": b"\x0a\xff\xff\xff\xff\x0f" + b"\0" * 50,
        "pickle": b"\x80\x04\x95\x00\x00\x00\x00cos\nsystem\n(S'exit 1'\ntR.",
    }
    if what != "missing":
        made.write_bytes(contents[what])
    return made


BROKEN = [
    *("missing", "folder", "empty", "truncated", "head only", "text"),
    *("zip of nothing", "hdf5 head", "protobuf", "pickle"),
]


@pytest.mark.parametrize("what", BROKEN)
def test_a_model_that_cannot_be_read(what: str, cli, small_samples: str, tmp_path: Path) -> None:
    model = broken_model(tmp_path, what)
    out = tmp_path / "out"
    out.mkdir()
    (out / "kws.c").write_text("earlier")
    before = snapshot(out)
    done = cli("export", model, "-o", out, "--samples", small_samples, "--name", "kws")
    assert_error(done, 3, "model file")
    assert "bad.keras" in done.err
    assert snapshot(out) == before
    assert cli("inspect", model).code == 3


def test_a_network_that_computes_nothing(tf: ModuleType, cli, tmp_path: Path) -> None:
    layers = tf.keras.layers
    model = tmp_path / "flat.keras"
    tf.keras.Sequential([layers.Input((3, 2)), layers.Flatten()]).save(model)
    np.savez(tmp_path / "x.npz", x=np.ones((4, 3, 2), np.float32))
    done = cli("export", model, "-o", tmp_path / "out", "--samples", tmp_path / "x.npz")
    assert_error(done, 3, "model file")
    assert "no layer that computes" in done.err


def test_an_unknown_layer(tf: ModuleType, cli, small_samples: str, tmp_path: Path) -> None:
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Input((8, 4)), layers.UnitNormalization(name="strange")])
    model.save(tmp_path / "unknown.keras")
    done = cli("export", tmp_path / "unknown.keras", "-o", tmp_path / "out", "--samples", "x.npz")
    assert_error(done, 4, "layer not supported")
    assert "strange" in done.err
    assert "UnitNormalization" in done.err
    assert not (tmp_path / "out").exists()


def sample_file(folder: Path, what: str) -> str:
    x = np.zeros((4, 49, 10, 1), np.float32)
    bad = x.copy()
    bad[2, 3, 4, 0] = np.nan
    arrays = {
        "wrong shape": np.zeros((4, 48, 10, 1)),
        "NaN": bad,
        "none at all": x[:0],
        "text": np.array(["a", "b"]),
    }
    path = folder / "samples.npz"
    if what in arrays:
        np.savez(path, x=arrays[what])
    elif what == "pickle":
        np.savez(path, x=np.array([{}, {}], object))
    elif what == "garbage":
        path.write_bytes(b"garbage")
    return {"not given": "", "no key": f"{CALIBRATION}s", "suffix": MODEL}.get(what, str(path))


SAMPLES = [
    *("wrong shape", "NaN", "none at all", "text", "pickle", "garbage"),
    *("not given", "no key", "missing", "suffix"),
]


@pytest.mark.parametrize("what", SAMPLES)
def test_samples_that_cannot_be_used(what: str, cli, exported: Path, tmp_path: Path) -> None:
    samples = sample_file(tmp_path, what)
    before = snapshot(exported)
    given = ["--samples", samples] if samples else []
    assert_error(cli("export", MODEL, "-o", exported, *given), 5, "samples")
    if samples:
        given = ["--test-samples", samples, "--samples", CALIBRATION]
        assert_error(cli("export", MODEL, "-o", exported, *given), 5, "samples")
        for command in (["run", "-o", tmp_path / "o.npz"], ["evaluate"], ["verify"]):
            done = cli(command[0], exported, *command[1:], "--samples", samples)
            assert_error(done, 5, "samples")
    assert snapshot(exported) == before
    assert not (tmp_path / "o.npz").exists()


def test_a_budget_of_ram(cli, exported: Path, small_samples: str) -> None:
    """Far too little is refused with the least that smaller kernels need; that much is taken."""
    need = json.loads((exported / "kws.json").read_text())["memory"]["ram"]
    arguments = ("export", MODEL, "--samples", small_samples, "--max-ram")
    before = snapshot(exported)
    done = cli(*arguments, 6, "-o", exported)
    assert_error(done, 6, "budget exceeded")
    least = int(re.findall(r"needs (\d+) bytes of RAM with the smallest", done.err)[0])
    assert least <= need
    assert cli(*arguments, least - 1, "-o", exported).code == 6
    assert cli(*arguments, need, "-o", exported).code == 0
    assert snapshot(exported) == before
    assert cli(*arguments, least, "-o", exported.with_name("least")).code == 0


def test_a_budget_of_flash(cli, exported: Path, small_samples: str) -> None:
    """Constants alone are refused before anything is compiled, then code and constants."""
    weights = json.loads((exported / "kws.json").read_text())["memory"]["weights"]
    arguments = ("export", MODEL, "-o", exported, "--samples", small_samples, "--max-flash")
    before = snapshot(exported)
    done = cli(*arguments, weights - 1)
    assert_error(done, 6, "budget exceeded")
    assert f"{weights} bytes of flash for its constants" in done.err
    done = cli(*arguments, weights)
    assert_error(done, 6, "budget exceeded")
    need = int(re.findall(r"needs (\d+) bytes of flash with its code", done.err)[0])
    assert need > weights
    assert snapshot(exported) == before
    assert cli(*arguments, need).code == 0
    assert snapshot(exported) == before


def test_a_folder_that_cannot_be_written(cli, small_samples: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        done = cli("export", MODEL, "-o", folder, "--samples", small_samples)
        assert_error(done, 1, "cannot write")
    assert (tmp_path / "file").read_text() == "in the way"


USAGE = [
    [],
    ["nonsense"],
    ["export"],
    ["export", MODEL],
    ["export", MODEL, "-o", "OUT", "--scheme", "q9"],
    ["export", MODEL, "-o", "OUT", "--backend", "none"],
    ["export", MODEL, "-o", "OUT", "--calibration", "none"],
    ["export", MODEL, "-o", "OUT", "--name", "int"],
    ["export", MODEL, "-o", "OUT", "--name", "a b"],
    ["export", MODEL, "-o", "OUT", "--max-ram", "lots"],
    ["export", MODEL, "-o", "OUT", "--nonsense"],
    ["verify", "EXPORTED", "--on", "moon"],
    ["verify", "EXPORTED", "--on", "qemu", "--board", "none"],
    ["verify", "EXPORTED", "--on", "host", "--board", "mps2-an386"],
    ["verify", "EXPORTED", "--count", "0"],
    ["evaluate", "EXPORTED"],
    ["evaluate", "EXPORTED", "--samples", TEST, "--min-accuracy", "0.5"],
    ["run", "EXPORTED", "--samples", TEST],
    ["run", "EXPORTED", "--samples", TEST, "-o", "OUT.txt"],
    ["list", "nothing"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=lambda a: " ".join(a)[-40:] or "nothing")
def test_usage(arguments: list[str], cli, exported: Path, tmp_path: Path) -> None:
    places = {"EXPORTED": str(exported), "OUT": str(tmp_path / "out"), "OUT.txt": "out.txt"}
    before = snapshot(exported)
    done = cli(*(places.get(argument, argument) for argument in arguments))
    assert done.code == 2
    assert done.err
    assert "Traceback" not in done.err
    assert snapshot(exported) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("epsilon", ["-1", "nan"])
def test_an_epsilon_without_a_root(epsilon: str, cli, small_samples: str, tmp_path: Path) -> None:
    arguments = ("export", MODEL, "-o", tmp_path / "o", "--samples", small_samples)
    done = cli(*arguments, "--bn-epsilon", epsilon)
    assert_error(done, 2, "usage")
    assert "epsilon" in done.err


@pytest.mark.parametrize("count", [1, 11, 13])
def test_labels_must_be_as_many_as_the_outputs(
    count: int, cli, small_samples: str, tmp_path: Path
) -> None:
    """The self-test would read beyond the output."""
    (tmp_path / "labels.txt").write_text("\n".join(f"label {i}" for i in range(count)))
    done = cli(
        *("export", MODEL, "-o", tmp_path / "out", "--samples", small_samples),
        *("--labels", tmp_path / "labels.txt"),
    )
    assert_error(done, 2, "usage")
    assert f"{count} labels" in done.err
    assert "12" in done.err


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_labels_that_cannot_be_read(
    content: bytes | None, cli, small_samples: str, tmp_path: Path
) -> None:
    if content:
        (tmp_path / "labels.txt").write_bytes(content)
    arguments = ("export", MODEL, "-o", tmp_path / "out", "--samples", small_samples)
    done = cli(*arguments, "--labels", tmp_path / "labels.txt")
    assert_error(done, 3, "model file")


def test_errors_as_json(cli, tmp_path: Path) -> None:
    done = cli("export", tmp_path / "none.keras", "-o", tmp_path / "o", "--json")
    facts = done.json()
    assert facts.keys() == {"error", "what", "where", "fix", "exit_code"}
    assert (facts["exit_code"], done.code) == (3, 3)
    assert "none.keras" in facts["where"]


def test_a_traceback_only_with_debug(cli, tmp_path: Path) -> None:
    arguments = ("inspect", tmp_path / "none.keras")
    assert "Traceback" not in cli(*arguments).err
    assert "Traceback" in cli(*arguments, "--debug").err


@pytest.mark.parametrize("command", ["run", "verify", "evaluate"])
def test_a_folder_without_an_export(command: str, cli, tmp_path: Path) -> None:
    rest = {"verify": []}.get(command, ["--samples", TEST])
    rest = [*rest, "-o", tmp_path / "o.npz"] if command == "run" else rest
    assert_error(cli(command, tmp_path / "none", *rest), 3, "model file")
    (tmp_path / "other.json").write_text('{"tool": "another"}')
    (tmp_path / "broken.json").write_text("{")
    done = cli(command, tmp_path, *rest)
    assert_error(done, 3, "model file")
    assert "mcu-export export" in done.err


def test_a_missing_compiler(cli, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("verify", exported, "--cc", "no-such-compiler").code == 8
    monkeypatch.setenv("PATH", "/nowhere")
    for on in ("host", "qemu"):
        done = cli("verify", exported, "--on", on)
        assert_error(done, 8, "toolchain")
        assert "apt-get install" in done.err


def test_a_compiler_that_fails(cli, exported: Path) -> None:
    done = cli("verify", exported, "--cc", "false")
    assert_error(done, 8, "toolchain")


def test_a_bug_of_ours_ends_with_1(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: object, **_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("mcu_export.loaders.load", broken)
    done = cli("inspect", MODEL)
    assert done.code == 1
    assert "this is a bug of mcu-export" in done.err
    assert "Traceback" not in done.err
