"""``verify --layers``, the figures that ``verify --on qemu`` keeps, and ``compare``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mcu_export.build import Target
from mcu_export.comparison import compare_exports
from mcu_export.exported import open_export
from mcu_export.layers import compare_layers, layer_report
from mcu_export.measured import Measured, read_measured, write_measured
from mcu_export.reference import run_reference
from mcu_export.verify import choose_inputs
from tests.home.conftest import KWS, Tool, export_kws

BOARD = "mps2-an386"


@pytest.fixture
def copy(kws_export: Path, tmp_path: Path) -> Path:
    """An export that a test may damage."""
    return Path(shutil.copytree(kws_export, tmp_path / "copy"))


def test_host_and_board_equal_the_reference(kws_export: Path) -> None:
    exported = open_export(kws_export)
    inputs = choose_inputs(exported, "", 3)
    report = compare_layers(exported, inputs, [Target(), Target(BOARD)])
    assert [row.name for row in report.layers] == exported.layers
    assert report.boards == ("host", BOARD)
    assert report.mismatches == 0
    assert report.first_difference is None
    assert report.layers[0].compared == 3 * 25 * 5 * 64


def test_the_first_difference_is_told_with_values_and_formats(kws_export: Path) -> None:
    """One bit of a trace is flipped: sample 1, the second layer, pixel (3, 2), channel 7."""
    exported = open_export(kws_export)
    inputs = choose_inputs(exported, "", 3)
    values = run_reference(exported.quant, inputs)
    tensors = [values[name].astype(np.int8) for name in exported.layers]
    rows = [np.concatenate([t[sample].ravel() for t in tensors]) for sample in range(3)]
    place = 25 * 5 * 64 + (3 * 5 + 2) * 64 + 7
    expected = int(rows[1][place])
    rows[1][place] ^= 4
    rows[2][0] ^= 1
    right = b"".join(row.tobytes() for row in rows)
    rows[1][place] ^= 4
    rows[2][0] ^= 1
    traces = {"host": b"".join(row.tobytes() for row in rows), BOARD: right}
    report = layer_report(exported, inputs, traces)
    first = report.first_difference
    assert first is not None
    assert (first.board, first.difference.sample) == (BOARD, 1)
    assert (first.difference.layer, first.place) == ("depthwise1", "[3,2,7]")
    assert (first.difference.expected, first.difference.got) == (expected, expected ^ 4)
    layer = next(node for node in exported.quant.nodes if node.name == "depthwise1")
    assert first.expected_real == expected / 2**layer.format.frac_bits
    assert first.format == layer.format.text()
    assert [dict(row.mismatches) for row in report.layers[:3]] == [
        {"host": 0, BOARD: 1},
        {"host": 0, BOARD: 1},
        {"host": 0, BOARD: 0},
    ]


def test_a_wrong_layer_ends_with_code_7(copy: Path, tool: Tool) -> None:
    header = copy / "kws_weights.h"
    lines = header.read_text().splitlines(keepends=True)
    bias = next(i for i, line in enumerate(lines) if "pointwise1" in line and "_bias[" in line)
    lines[bias + 1] = lines[bias + 1].replace(",", " + 90,", 1)
    header.write_text("".join(lines))
    done = tool("verify", "copy", "--layers", "--on", "host", "--json")
    assert done.returncode == 7, done.stderr
    report, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert report["boards"] == ["host"]
    assert report["first_difference"]["difference"]["layer"] == "pointwise1"
    wrong = {row["name"]: row["mismatches"]["host"] for row in report["layers"]}
    assert wrong["conv"] == wrong["depthwise1"] == 0 < wrong["pointwise1"]


def test_qemu_figures_are_kept_and_belong_to_the_export(copy: Path, tool: Tool) -> None:
    done = tool("verify", "copy", "--on", "qemu", "--count", "2", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    exported = open_export(copy)
    (measured,) = read_measured(exported).values()
    assert measured.target == f"{BOARD} -O3"
    assert measured.instructions == verdict["instructions"]
    layers = measured.layer_instructions
    assert len(layers) == len(exported.layers)
    # A layer is right within two ticks of 40 instructions; calling the trace adds a few.
    assert abs(sum(layers) - measured.instructions) < 100 * len(layers)
    manifest = copy / "kws.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert read_measured(open_export(copy)) == {}


def test_damaged_figures_are_no_figures(copy: Path) -> None:
    exported = open_export(copy)
    one = Measured(BOARD, "", "-O3", 1, 2, 3, 4, (5, 6))
    assert write_measured(exported, one)
    assert list(read_measured(exported).values()) == [one]
    path = copy / "kws_measured.json"
    good = path.read_text()
    for bad in ("", "[]", "[" * 100_000, good.replace('"stack_bytes": 2', '"stack_bytes": "x"')):
        path.write_text(bad)
        assert read_measured(exported) == {}


def test_compare_shows_formats_sizes_and_figures(kws_export: Path, tmp_path: Path) -> None:
    other = export_kws(tmp_path / "q15", scheme="q15")
    old, new = open_export(kws_export), open_export(other)
    write_measured(new, Measured(BOARD, "", "-O3", 10, 2, 3, 4, ()))
    result = compare_exports(old, new, None, None)
    facts = {fact.what: (fact.old, fact.new) for fact in result.facts}
    assert facts["scheme"] == ("q7", "q15")
    sizes = tuple(one.manifest["memory"]["ram"] for one in (old, new))
    assert facts["RAM bytes"] == sizes
    assert sizes[0] < sizes[1]
    assert facts[f"instructions, {BOARD} -O3"] == (None, 10)
    assert not result.same
    conv = next(layer for layer in result.layers if layer.name == "conv")
    changes = {change.what: (change.old, change.new) for change in conv.changes}
    assert conv.kind == "changed"
    assert changes["format"][0].startswith("Q")
    assert "macs" not in changes
    assert compare_exports(old, old, None, None).same
    assert compare_exports(old, old, None, None).layers == ()


def test_compare_measures_accuracy_on_samples(kws_export: Path, tmp_path: Path, tool: Tool) -> None:
    export_kws(tmp_path / "new", calibration="minmax")
    test = f"{KWS}/test.npz"
    samples = (f"--samples={test}:features[:40]", f"--labels={test}:labels[:40]")
    done = tool("compare", str(kws_export), "new", *samples, "--json")
    assert done.returncode == 0, done.stderr
    facts = {fact["what"]: fact for fact in json.loads(done.stdout)["facts"]}
    assert 0.5 < facts["accuracy"]["old"] <= 1
    assert facts["float accuracy"]["old"] == facts["float accuracy"]["new"]
    table = tool("compare", str(kws_export), "new")
    assert "calibration" in table.stdout
    assert "Q" in table.stdout
    assert tool("compare", str(kws_export), str(kws_export)).stdout.endswith("is the same\n")


def test_layers_that_came_or_went(kws_export: Path) -> None:
    exported = open_export(kws_export)
    shorter = dict(exported.manifest)
    shorter["layers"] = [layer for layer in shorter["layers"] if layer["name"] != "pool"]
    other = type(exported)(
        exported.folder, exported.name, shorter, exported.quant, exported.samples
    )
    (gone,) = compare_exports(exported, other, None, None).layers
    (come,) = compare_exports(other, exported, None, None).layers
    assert (gone.name, gone.kind) == ("pool", "removed")
    assert (come.name, come.kind) == ("pool", "added")
