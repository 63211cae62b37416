"""``mcu-export report``: the figures, the page's structure, the page in a browser."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcu_export.exported import Exported, open_export
from mcu_export.graph import run_float
from mcu_export.measured import Measured, write_measured
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.report.advice import advise, bytes_live
from mcu_export.report.content import Report, make_report, report_json
from mcu_export.report.page import page
from mcu_export.report.pictures import BOX_WIDTH, network_picture
from mcu_export.samples import load_labels, load_samples
from tests.home.conftest import KWS, Tool, export_kws

VOID = {"meta", "line", "path", "link", "br", "hr", "img", "input"}
HOSTILE = "a<b>\"'&amp;</title><script>alert(1)</script>\u2028*/"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An export that was measured on a board."""
    one = open_export(export_kws(tmp_path_factory.mktemp("report")))
    counts = tuple(range(1000, 1000 + len(one.layers)))
    write_measured(one, Measured("board", "", "-O3", sum(counts), 136, 26000, 16000, counts))
    return one


@pytest.fixture(scope="session")
def report(exported: Exported) -> Report:
    samples = load_samples(f"{KWS}/test.npz:features[:60]", exported.quant.graph.inputs)
    return make_report(exported, samples, load_labels(f"{KWS}/test.npz:labels[:60]", 60, 12))


def test_noise_is_that_of_numpy(exported: Exported, report: Report) -> None:
    samples = load_samples(f"{KWS}/test.npz:features[:60]", exported.quant.graph.inputs)
    name, quant = "pointwise2", exported.quant
    real = run_float(quant.graph, {k: v.astype(np.float32) for k, v in samples.items()})[name]
    fmt = quant.formats()[name]
    got = run_reference(quant, quantize_inputs(quant, samples))[name] * 2.0**-fmt.frac_bits
    noise = np.square(real.astype(np.float64) - got).sum()
    expected = 10 * np.log10(np.square(real.astype(np.float64)).sum() / noise)
    seen = next(one for one in report.statistics if one.name == name)
    assert seen.sqnr_db == pytest.approx(expected, abs=1e-3)
    assert seen.own_sqnr_db is not None
    assert seen.own_sqnr_db > expected
    a = seen.activations
    assert sum(a.shares) == pytest.approx(1)
    assert a.zeros == pytest.approx(float(np.mean(real == 0)))
    limit = fmt.highest + 0.5
    assert a.saturated == pytest.approx(float(np.mean(real * 2.0**fmt.frac_bits > limit)))
    assert (a.range_low, a.range_high) == (fmt.lowest / 16, fmt.highest / 16)


def test_the_figures_as_json(report: Report) -> None:
    content = json.loads(json.dumps(report_json(report)))
    layers = {layer["name"]: layer for layer in content["layers"]}
    assert layers["conv"]["instructions"] == 1000
    assert layers["conv"]["macs"] == 320_000
    assert sum(map(sum, content["evaluation"]["confusion"])) == content["samples"] == 60
    assert {one["about"] for one in content["advice"]} >= {"RAM", "speed"}
    assert content["folds"][0]["batch_norm"] == "conv_bn"


def test_what_may_saturate_is_no_finding(report: Report) -> None:
    def findings(names: set[str]) -> list[str]:
        statistics = [
            replace(one, activations=replace(one.activations, saturated=0.3))
            if one.name in names
            else one
            for one in report.statistics
        ]
        found = advise(report.exported.manifest, statistics, 60, None, ())
        return [one.finding for one in found if "saturate" in one.finding]

    assert findings({"logits", "logits/softmax"}) == []
    assert findings({"logits", "pointwise2"}) == ["30.0 % of the values of pointwise2 saturate"]


def test_what_is_written_in_place_is_live_once() -> None:
    def buffer(offset: int, size: int, first: int, last: int) -> dict[str, int]:
        return {"offset": offset, "bytes": size, "first_step": first, "last_step": last}

    arena = [buffer(40, 100, 0, 1), buffer(0, 100, 1, 2), buffer(160, 8, 1, 1)]
    assert [bytes_live({"arena": arena}, step) for step in range(4)] == [100, 148, 100, 0]


class Checker(html.parser.HTMLParser):
    """Collects what a page is made of, and that its tags are balanced."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    text = page(report)
    checker = check(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert re.findall(r"(?:https?:)?//|url\(|@import", text) == []
    ids = [attrs["id"] for _, attrs in checker.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in checker.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert page(report) == text


def test_the_page_can_be_heard_and_used_by_keyboard(report: Report) -> None:
    checker = check(page(report))
    assert ("html", {"lang": "en"}) in checker.elements
    assert checker.tags["main"] == checker.tags["h1"] == 1
    assert checker.tags["caption"] == checker.tags["table"] >= 4
    for tag, attrs in checker.elements:
        if tag == "th":
            assert attrs["scope"] in ("row", "col")
        if attrs.get("role") in ("img", "region"):
            assert attrs["aria-label"]
        if attrs.get("role") == "region":
            assert attrs["tabindex"] == "0"
    levels = [int(tag[1]) for tag, _ in checker.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_page_shows_the_figures(report: Report) -> None:
    text = " ".join("".join(check(page(report)).text).split())
    ram = f"{report.exported.manifest['memory']['ram']:,} bytes"
    for shown in (ram, "conv_bn", "board -O3", "depthwise1", "no plan can need less"):
        assert shown in text
    for layer in report.exported.layers:
        assert layer in text


def test_hostile_names_stay_text(report: Report) -> None:
    changed = json.loads(json.dumps(report.exported.manifest))
    changed["labels"][0] = HOSTILE
    changed["details"] = {"origin": HOSTILE}
    changed["folds"][0]["batch_norm"] = HOSTILE
    changed["loaded"][0]["name"] = HOSTILE
    hostile = replace(report.exported, manifest=changed, name=HOSTILE)
    checker = check(page(replace(report, exported=hostile)))
    assert "script" not in checker.tags
    assert "".join(checker.text).count(HOSTILE) >= 4


def test_without_labels_figures_and_old_manifest(kws_export: Path) -> None:
    exported = open_export(kws_export)
    manifest = {k: v for k, v in exported.manifest.items() if k != "loaded"} | {"folds": []}
    made = make_report(replace(exported, manifest=manifest), None, None)
    text = page(made)
    check(text)
    assert "Confusion" not in text
    assert "No batch normalization" in text
    assert "from 4 samples only" in text
    assert "not measured" in text


def test_the_affine_schemes_have_a_page_too(tmp_path: Path) -> None:
    made = make_report(open_export(export_kws(tmp_path, scheme="int8")), None, None)
    conv = next(one for one in made.statistics if one.name == "conv")
    assert conv.weights is not None
    assert conv.weights.saturated == 0
    text = page(made)
    check(text)
    assert "a scale per channel" in text
    assert "shifts (bias / out)" not in text


def test_a_branch_passes_beside_the_boxes() -> None:
    layers = [
        {"name": "a", "op": "conv2d", "inputs": ["x"], "shape": (4,)},
        {"name": "b", "op": "conv2d", "inputs": ["a"], "shape": (4,)},
        {"name": "c", "op": "add", "inputs": ["a", "b"], "shape": (4,)},
    ]
    picture = network_picture(["x"], layers, {"c": "Q1.6"}, gone=["b"])
    assert [box.name for box in picture.boxes] == ["x", "a", "b", "c"]
    assert [box.style for box in picture.boxes] == ["input", "", "gone", ""]
    assert len(picture.paths) == 4
    around = picture.paths[2]
    swing = max(int(number) for number in re.findall(r"\d+", around.split("C")[1]))
    assert picture.boxes[1].x + BOX_WIDTH < swing


def test_the_command_writes_the_page_and_prints_tables(kws_export: Path, tool: Tool) -> None:
    done = tool("report", str(kws_export), "-o", "out/report.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "written: out/report.html\n"
    table = tool("report", str(kws_export)).stdout
    assert "depthwise1" in table
    assert "SNR" in table
    refused = tool("report", str(kws_export), "--labels", "x.npz")
    assert refused.returncode == 2


def browse(file: Path, *flags: str) -> str:
    """Chromium's page after its scripts ran."""
    chromium = shutil.which("chromium")
    assert chromium, "this test needs Chromium; make test installs it (apt-get install chromium)"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-dev-shm-usage", "--dump-dom"]
    command += [f"--user-data-dir={file.parent / 'profile'}", *flags, file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (500, "dark")])
def test_in_chromium(report: Report, tmp_path: Path, width: int, scheme: str) -> None:
    """The page fits the window, its pictures have a size, and it follows the color scheme."""
    probe = """<script>
      const boxes = [...document.querySelectorAll("svg")].map(s => s.getBoundingClientRect());
      document.title = JSON.stringify({
        overflow: document.documentElement.scrollWidth - innerWidth,
        empty: boxes.filter(b => b.width < 1 || b.height < 1).length,
        pictures: boxes.length,
        background: getComputedStyle(document.body).backgroundColor,
      });</script>"""
    file = tmp_path / "report.html"
    # The longest names that are seen in the wild have no place to break.
    advice = replace(report.advice[0], finding="functional_1/batch_normalization/" * 10)
    text = page(replace(report, advice=(advice,)))
    file.write_text(text.replace("</body>", probe + "</body>"))
    flags = [f"--window-size={width},900"]
    flags += ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    title = re.search(r"<title>(\{.*?\})</title>", browse(file, *flags))
    assert title
    seen = json.loads(title[1].replace("&quot;", '"'))
    assert seen["overflow"] <= 0
    assert seen["empty"] == 0
    assert seen["pictures"] > 40
    red = int(re.findall(r"\d+", seen["background"])[0])
    assert red > 200 if scheme == "light" else red < 60
