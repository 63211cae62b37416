"""The command line: exit codes, messages, JSON, and that a failure changes nothing."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import numpy as np
import pytest

import mcu_export
from mcu_export.cli import COMMANDS, main
from mcu_export.errors import BudgetError, OutOfDateError, UsageError
from mcu_export.resources import resource_dir
from mcu_export.version import __version__
from tests.helpers import KWS, ROOT, run

MODEL = str(KWS / "kws.keras")
CALIBRATION = f"{KWS / 'calibration.npz'}:features"
TEST = f"{KWS / 'test.npz'}:features"
LABELS = f"{KWS / 'test.npz'}:labels"
EXPORT_KEYS = {"name", "scheme", "backend", "inputs", "outputs", "layers", "memory", "macs"}
LAYER_KEYS = {"name", "op", "kernel", "macs", "weight_bytes", "accumulator_bound"}
VERIFY_KEYS = {
    *("on", "board", "outputs_compared", "mismatches", "first_difference"),
    *("instructions", "flash_bytes", "ram_bytes", "stack_bytes"),
}
EVALUATE_KEYS = {"samples", "float_accuracy", "accuracy", "agreement", "sqnr_db"}


class Result:
    """What a command said and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> object:
    """Runs a command in this process."""

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(int(stopped.value.code or 0), out, err)

    return call


@pytest.fixture(scope="session")
def small_samples(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twenty samples: enough to calibrate on in a test."""
    path = tmp_path_factory.mktemp("samples") / "few.npz"
    np.savez(path, features=np.load(KWS / "calibration.npz")["features"][:20])
    return str(path)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, small_samples: str) -> Path:
    """An export that no test changes."""
    folder = tmp_path_factory.mktemp("export")
    mcu_export.export(MODEL, folder, samples=small_samples)
    return folder


def process(*arguments: object, **options: object) -> CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return run([sys.executable, *arguments], env=environment, **options)  # type: ignore[return-value]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


# -- export -----------------------------------------------------------------------------------


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


def test_two_exports_give_the_same_bytes_wherever_they_are(
    exported: Path, small_samples: str, tmp_path: Path
) -> None:
    """Other folder, other process, other hash seed."""
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = ["-m", "mcu_export", "export", MODEL, "-o", folder, "--samples", small_samples]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        assert run([sys.executable, *command], env=environment).returncode == 0
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


# -- bad input --------------------------------------------------------------------------------


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


def assert_error(done: Result, code: int, title: str) -> None:
    """Exit code, and a message with what, where and what to do; never a traceback."""
    assert done.code == code, done.err
    assert done.err.startswith(f"mcu-export: {title}: ")
    assert "where:" in done.err
    assert "Traceback" not in done.err + done.out


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
    need = json.loads((exported / "kws.json").read_text())["memory"]["ram"]
    arguments = ("export", MODEL, "-o", exported, "--samples", small_samples, "--max-ram")
    before = snapshot(exported)
    for limit in (need - 1, 6):
        done = cli(*arguments, limit)
        assert_error(done, 6, "budget exceeded")
        assert f"{need} bytes" in done.err
    assert cli(*arguments, need).code == 0
    assert snapshot(exported) == before


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


# -- the other commands -----------------------------------------------------------------------


def test_inspect(cli) -> None:
    facts = cli("inspect", MODEL, "--json").json()
    assert facts["before"]["macs"] > 0
    assert any("batch_norm" in layer["op"] for layer in facts["before"]["layers"])
    assert not any("batch_norm" in layer["op"] for layer in facts["after"]["layers"])
    assert facts["after"]["parameters"] < facts["before"]["parameters"]
    text = cli("inspect", MODEL)
    assert text.code == 0
    assert all(layer["name"] in text.out for layer in facts["after"]["layers"])


def test_run_writes_integers_and_real_values(cli, exported: Path, tmp_path: Path) -> None:
    done = cli("run", exported, "--samples", TEST, "-o", tmp_path / "o.npz", "--json")
    assert done.json()["samples"] == 204
    made = np.load(tmp_path / "o.npz")
    facts = json.loads((exported / "kws.json").read_text())["outputs"][0]
    assert made["output"].dtype == np.int8
    assert made["output"].shape == (204, 12)
    np.testing.assert_array_equal(made["output_real"], made["output"] * 2.0 ** -facts["frac_bits"])
    right = made["output"].argmax(axis=1) == np.load(KWS / "test.npz")["labels"]
    assert right.mean() > 0.8


def test_run_takes_integers_as_they_are(cli, exported: Path, tmp_path: Path) -> None:
    features = np.load(KWS / "test.npz")["features"][:7]
    frac_bits = json.loads((exported / "kws.json").read_text())["inputs"][0]["frac_bits"]
    integers = np.clip(np.floor(features * 2.0**frac_bits + 0.5), -128, 127).astype(np.int8)
    np.savez(tmp_path / "integers.npz", integers)
    np.savez(tmp_path / "floats.npz", features)
    outputs = []
    for name in ("integers", "floats"):
        made = tmp_path / f"{name}_out.npz"
        assert cli("run", exported, "--samples", tmp_path / f"{name}.npz", "-o", made).code == 0
        outputs.append(np.load(made)["output"])
    np.testing.assert_array_equal(*outputs)


def test_evaluate(cli, exported: Path) -> None:
    facts = cli("evaluate", exported, "--samples", TEST, "--labels", LABELS, "--json").json()
    assert facts.keys() >= EVALUATE_KEYS
    assert facts["samples"] == 204
    assert facts["float_accuracy"] >= 0.85
    assert 0 <= facts["accuracy"] <= 1
    without = cli("evaluate", exported, "--samples", TEST, "--json").json()
    assert without["accuracy"] is None
    assert without["agreement"] == facts["agreement"]


@pytest.mark.parametrize(
    "gate, code",
    [
        (["--min-accuracy", "0.5"], 0),
        (["--min-accuracy", "1.01"], 7),
        (["--max-drop", "100"], 0),
        (["--max-drop", "-100"], 7),
    ],
)
def test_gates_on_accuracy(gate: list[str], code: int, cli, exported: Path) -> None:
    done = cli("evaluate", exported, "--samples", TEST, "--labels", LABELS, *gate)
    assert done.code == code
    assert gate[0] in done.err or code == 0


def test_labels_of_classes_that_the_network_does_not_have(
    cli, exported: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "l.npz", np.full(204, 12))
    done = cli("evaluate", exported, "--samples", TEST, "--labels", tmp_path / "l.npz")
    assert_error(done, 5, "samples")


def test_verify_json(cli, exported: Path) -> None:
    facts = cli("verify", exported, "--count", 5, "--json").json()
    assert facts.keys() >= VERIFY_KEYS
    assert (facts["on"], facts["mismatches"], facts["first_difference"]) == ("host", 0, None)
    assert facts["outputs_compared"] > 0
    assert facts["flash_bytes"] > 0


@pytest.mark.parametrize("what", ["ops", "schemes", "backends", "boards"])
def test_list(what: str, cli) -> None:
    rows = cli("list", what, "--json").json()[what]
    text = cli("list", what).out
    assert len(rows) > 1
    assert all(next(iter(row.values())) in text for row in rows)


def test_list_boards_is_the_firmwares_folder(cli) -> None:
    rows = cli("list", "boards", "--json").json()["boards"]
    folders = {p.name for p in (resource_dir("firmware") / "boards").iterdir() if p.is_dir()}
    assert {row["board"] for row in rows} == folders - {"common"} | {"host"}


def test_makefile(cli) -> None:
    path = cli("makefile").out.strip()
    assert Path(path).is_absolute()
    assert Path(path).name == "mcu-export.mk"
    assert cli("makefile", "--json").json() == {"makefile": path}


def test_version(cli) -> None:
    assert __version__ in cli("--version").out


# -- start-up ---------------------------------------------------------------------------------

HEAVY = ("tensorflow", "keras", "numpy", "h5py", "jinja2", "google.protobuf")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from mcu_export.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: code = stop.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], code, file=sys.stderr)"
    )
    done = process("-c", code)
    assert done.stderr.strip() == "[] 0"
    assert "Usage" in done.stdout


def test_exporting_a_keras_file_never_imports_tensorflow(
    small_samples: str, tmp_path: Path
) -> None:
    code = (
        "import sys, mcu_export\n"
        f"mcu_export.export({MODEL!r}, {str(tmp_path)!r}, samples={small_samples!r})\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    assert process("-c", code).stdout.strip() == "[]"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m mcu_export list ops | true"
    done = run(["sh", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert "Traceback" not in done.stderr


# -- Python -----------------------------------------------------------------------------------


def test_the_python_interface(small_samples: str, exported: Path, tmp_path: Path) -> None:
    graph = mcu_export.load(MODEL)
    assert graph.macs() > 0
    made = mcu_export.export(Path(MODEL), tmp_path / "out", samples=Path(small_samples))
    assert made == json.loads((exported / "kws.json").read_text())
    with pytest.raises(BudgetError):
        mcu_export.export(MODEL, tmp_path / "out", samples=small_samples, max_ram=6)
    with pytest.raises(UsageError, match="no option 'colour'"):
        mcu_export.export(MODEL, tmp_path / "out", samples=small_samples, colour="red")
    with pytest.raises(AttributeError):
        _ = mcu_export.nothing
    assert OutOfDateError.exit_code == 9


def test_the_names_that_the_package_promises() -> None:
    assert set(mcu_export.__all__) == {"__version__", "export", "load"}
    assert callable(mcu_export.load)
    assert callable(mcu_export.export)
