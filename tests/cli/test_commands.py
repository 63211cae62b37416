"""The other commands, start-up and the Python interface."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import ShellComplete

import mcu_export
from mcu_export.cli import COMMANDS, cli
from mcu_export.errors import BudgetError, OutOfDateError, UsageError
from mcu_export.resources import resource_dir
from mcu_export.version import __version__
from tests.cli.tool import (
    EVALUATE_KEYS,
    LABELS,
    MODEL,
    TEST,
    VERIFY_KEYS,
    assert_error,
    process,
)
from tests.helpers import KWS, ROOT, run


def test_inspect(cli) -> None:
    facts = cli("inspect", MODEL, "--json").json()
    assert facts["before"]["macs"] > 0
    assert any("batch_norm" in layer["op"] for layer in facts["before"]["layers"])
    assert not any("batch_norm" in layer["op"] for layer in facts["after"]["layers"])
    assert facts["after"]["parameters"] < facts["before"]["parameters"]
    text = cli("inspect", MODEL)
    assert text.code == 0
    assert all(layer["name"] in text.out for layer in facts["after"]["layers"])


def test_sensitivity_of_a_model_and_of_its_export(
    cli, exported: Path, small_samples: str, tmp_path: Path
) -> None:
    given = cli("sensitivity", exported, "--samples", TEST, "--json").json()
    errors = [layer["error"] for layer in given["layers"]]
    assert given["scheme"] == "q7"
    assert given["samples"] == 204
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0
    model = cli("sensitivity", MODEL, "--samples", small_samples, "--scheme", "int8", "--json")
    assert model.json()["scheme"] == "int8"
    text = cli("sensitivity", exported, "--samples", small_samples)
    assert all(layer["name"] in text.out for layer in given["layers"])
    assert_error(cli("sensitivity", tmp_path, "--samples", TEST), 3, "model file")


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
        (["--min-accuracy", "nan"], 2),
        (["--max-drop", "nan"], 2),
    ],
)
def test_gates_on_accuracy(gate: list[str], code: int, cli, exported: Path) -> None:
    done = cli("evaluate", exported, "--samples", TEST, "--labels", LABELS, *gate)
    assert done.code == code
    assert gate[0] in done.err or code == 0


def test_a_gate_in_percent_says_that_it_is_a_share(cli, exported: Path) -> None:
    gate = ["--min-accuracy", "85"]
    done = cli("evaluate", exported, "--samples", TEST, "--labels", LABELS, *gate)
    assert (done.code, "not percent" in done.err) == (7, True)


def test_figures_of_every_class(cli, exported: Path) -> None:
    asked = ["evaluate", exported, "--samples", TEST, "--labels", LABELS]
    facts = cli(*asked, "--json").json()
    answers = np.array(facts["confusion"])
    labels = np.load(KWS / "test.npz")["labels"]
    assert answers.sum(axis=1).tolist() == np.bincount(labels, minlength=12).tolist()
    assert answers.trace() / answers.sum() == facts["accuracy"]
    table = cli(*asked, "--classes").out.splitlines()
    start = next(i for i, line in enumerate(table) if line.startswith("class"))
    for row, line in zip(answers, table[start + 1 :], strict=True):
        assert line.split()[-12:] == [str(n) for n in row]


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


@pytest.mark.parametrize(
    ("option", "typed", "offered"),
    [
        ("--scheme", "q15", {"q15", "q15x7"}),
        ("--backend", "cmsis-nn-l", {"cmsis-nn-legacy"}),
        ("--calibration", "m", {"mse", "minmax"}),
        ("--emit", "c", {"cpp", "cmake", "cmsis-pack"}),
        ("--board", "mps3", {"mps3-an547"}),
    ],
)
def test_the_shell_completes_values(option: str, typed: str, offered: set[str]) -> None:
    complete = ShellComplete(cli, {}, "mcu-export", "_MCU_EXPORT_COMPLETE")
    found = complete.get_completions(["export", option], typed)
    assert {item.value for item in found} == offered


def test_inspect_with_samples_shows_channels(cli, small_samples: str) -> None:
    layers = cli("inspect", MODEL, "--samples", small_samples, "--json").json()["channels"]
    assert all(0 <= one["least"] <= one["median"] <= one["most"] for one in layers)
    assert any(one["weights_lost_bits"] for one in layers)
    text = cli("inspect", MODEL, "--samples", small_samples)
    assert text.code == 0
    assert "bits that the median loses" in text.out
