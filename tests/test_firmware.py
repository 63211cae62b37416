"""The self-test in QEMU finds what is wrong, and ``verify`` says where."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mcu_export
from mcu_export.backends import BACKENDS
from mcu_export.build import Target, check_target
from mcu_export.cli import main
from mcu_export.errors import ToolchainError, UsageError
from mcu_export.exported import open_export
from mcu_export.fit import fit
from mcu_export.reference import run_layer, run_reference
from mcu_export.resources import resource_dir
from mcu_export.verify import choose_inputs, verify
from tests.backends.test_turns import network_with_pooling
from tests.cases.test_cases import exported_of, quantized
from tests.helpers import KWS, run

BOARD = "mps2-an386"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    samples = folder / "few.npz"
    np.savez(samples, x=np.load(KWS / "calibration.npz")["features"][:20])
    mcu_export.export(KWS / "kws.keras", folder / "kws", samples=samples, test_count=2)
    return folder / "kws"


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """An export that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "export"))


def self_test(export: Path, build: Path, board: str = BOARD, name: str = "kws") -> tuple[int, str]:
    """Exit code of make and what the firmware printed."""
    command = ["make", "-s", "-C", resource_dir("firmware"), "run", f"MODEL={name}"]
    command += [f"MODEL_DIR={export}", f"BUILD={build}", f"BOARD={board}"]
    done = run(command)
    return done.returncode, done.stdout + done.stderr  # type: ignore[attr-defined]


def change_number(path: Path, array: str, index: int) -> tuple[int, int]:
    """Flip the lowest bit of one number of an array in a header: before, after."""
    text = path.read_text()
    body = re.search(rf"\b{array}\[\d+\] = \{{([^}}]*)\}}", text)
    assert body, array
    number = list(re.finditer(r"-?\d+", body[1]))[index]
    before = int(number[0])
    start = body.start(1) + number.start()
    path.write_text(text[:start] + str(before ^ 1) + text[start + len(number[0]) :])
    return before, before ^ 1


@pytest.mark.parametrize("board", [BOARD, "host"])
def test_pass(board: str, exported: Path, tmp_path: Path) -> None:
    code, said = self_test(exported, tmp_path, board)
    assert code == 0
    assert said.splitlines()[-1] == "PASS"
    assert f"\nkws on {board}, 2 samples, " in said
    if board != "host":
        assert re.search(r"^instructions +\d+ \(\d+\.\d+ per MAC\)$", said, re.M)
        assert re.search(r"^stack +\d+ bytes$", said, re.M)
    ram = json.loads((exported / "kws.json").read_text())["memory"]["arena"]
    assert re.search(rf"^RAM \(arena\) +{ram} bytes$", said, re.M)


@pytest.mark.parametrize("layer, index", [(0, 7), (3, 100)])
def test_a_golden_number_that_is_wrong(layer: int, index: int, copy: Path, tmp_path: Path) -> None:
    got, expected = change_number(copy / "kws_test.h", f"kws_test_layer_{layer}", index)
    facts = json.loads((copy / "kws.json").read_text())["layers"][layer]
    code, said = self_test(copy, tmp_path)
    assert code != 0
    verdict = f"FAIL: layer {facts['name']} ({facts['op']}), index {index}: "
    assert f"{verdict}got {got}, expected {expected}" in said
    assert "PASS" not in said


def test_layers_in_turn_are_compared_row_by_row(tmp_path: Path) -> None:
    """Its last row of 512 elements is one that the next layer does not read."""
    quant = quantized(network_with_pooling(), "q7")
    program, layout = fit(quant, BACKENDS["plain-c"], "net")
    assert not program.steps[2].traced
    exported_of(quant, program, layout, tmp_path)
    assert self_test(tmp_path, tmp_path / "build", "host", "net")[0] == 0
    before, after = change_number(tmp_path / "net_test.h", "net_test_layer_2", 7 * 512 + 9)
    _, said = self_test(tmp_path, tmp_path / "build", "host", "net")
    assert f"layer wide2 (conv2d), index 3593: got {before}, expected {after}" in said


def test_a_wrong_output_of_a_later_sample(copy: Path, tmp_path: Path) -> None:
    """Layers are compared for sample 0 only: the output tells the rest."""
    got, expected = change_number(copy / "kws_test.h", "kws_test_output", 12 + 5)
    code, said = self_test(copy, tmp_path)
    assert code != 0
    assert "FAIL: sample 1, output " in said
    assert f"index 5: got {got}, expected {expected}" in said


def bias_of(export: Path, layer: int) -> str:
    """C name of the bias array of a layer."""
    name = json.loads((export / "kws.json").read_text())["layers"][layer]["name"]
    arrays = re.findall(r"const \w+ (kws_\w+_bias)\[", (export / "kws_weights.h").read_text())
    (found,) = [array for array in arrays if array == f"kws_{name.replace('/', '_')}_bias"]
    return found


def tamper(export: Path, layer: int) -> tuple[str, int, int, int]:
    """Move the first bias of a layer far off; what the first sample is to show of it.

    Returns:
        Name of the layer, the first index that differs, what C computes and what it should: from
        the reference, given the same wrong bias.
    """
    path = export / "kws_weights.h"
    text = path.read_text()
    body = re.search(rf"\b{bias_of(export, layer)}\[\d+\] = \{{\s*(-?\d+)", text)
    assert body
    other = -128 if int(body[1]) > 0 else 127
    path.write_text(text[: body.start(1)] + str(other) + text[body.end(1) :])
    opened = open_export(export)
    name = opened.layers[layer]
    node = next(node for node in opened.quant.nodes if node.name == name)
    values = run_reference(opened.quant, opened.samples)
    bias = node.params["bias"].copy()
    assert bias[0] == int(body[1])
    bias[0] = other
    wrong = replace(node, params={**node.params, "bias": bias})
    got = run_layer(wrong, [values[value] for value in node.node.inputs])[0].ravel()
    right = values[name][0].ravel()
    index = int(np.flatnonzero(got != right)[0])
    return name, index, int(got[index]), int(right[index])


def test_a_weight_that_is_wrong_is_found_in_its_layer(copy: Path, tmp_path: Path) -> None:
    name, index, got, expected = tamper(copy, 2)
    code, said = self_test(copy, tmp_path)
    assert code != 0
    assert f"FAIL: layer {name} (conv2d), index {index}: got {got}, expected {expected}" in said


@pytest.mark.parametrize("on", ["host", "qemu"])
def test_verify_names_the_first_layer_that_differs(
    on: str, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, index, got, expected = tamper(copy, 2)
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(copy), "--on", on, "--count", "4", "--json"])
    assert stopped.value.code == 7
    out, err = capfd.readouterr()
    verdict, _ = json.JSONDecoder().raw_decode(out)
    first = verdict["first_difference"]
    assert first == {
        **{"sample": 0, "layer": name, "op": "conv2d", "index": index},
        **{"got": got, "expected": expected},
    }
    assert verdict["mismatches"] > 0
    assert f"layer {name} (conv2d), index {index}: got {got}, expected {expected}" in err


def test_verify_finds_nothing_in_qemu(exported: Path) -> None:
    opened = open_export(exported)
    inputs = choose_inputs(opened, "", 3)
    verdict = verify(opened, inputs, Target(BOARD))
    assert (verdict.on, verdict.mismatches, verdict.samples) == ("qemu", 0, 3)
    elements = sum(int(np.prod(layer["shape"])) for layer in opened.manifest["layers"])
    assert verdict.outputs_compared == 3 * elements
    assert verdict.instructions
    assert verdict.stack_bytes
    assert verdict.flash_bytes > opened.manifest["memory"]["weights"]
    assert verdict.ram_bytes >= opened.manifest["memory"]["ram"]


def test_files_of_two_exports_do_not_build(copy: Path, tmp_path: Path) -> None:
    text = (copy / "kws_weights.h").read_text()
    (copy / "kws_weights.h").write_text(re.sub(r"(EXPORT_ID 0x)\w+", r"\g<1>00000000U", text))
    code, said = self_test(copy, tmp_path)
    assert code != 0
    assert "are of different exports: run mcu-export again" in said
    opened = open_export(copy)
    with pytest.raises(ToolchainError) as caught:
        verify(opened, choose_inputs(opened, "", 1), Target())
    assert "are of different exports" in caught.value.where


@pytest.mark.parametrize("variable", ["BOARD=none", "CORE=cortex-m85", "PROGRAM=none"])
def test_what_the_makefile_does_not_know(variable: str, exported: Path, tmp_path: Path) -> None:
    command = ["make", "-C", resource_dir("firmware"), "run", "MODEL=kws", variable]
    done = run([*command, f"MODEL_DIR={exported}", f"BUILD={tmp_path}"])
    assert done.returncode == 2  # type: ignore[attr-defined]
    assert variable.split("=")[1] in done.stderr  # type: ignore[attr-defined]


def test_an_unknown_board() -> None:
    with pytest.raises(UsageError, match="no board 'none'"):
        check_target(Target("none"))
