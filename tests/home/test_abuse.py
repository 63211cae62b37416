"""Names that hurt, exports at the same time, and what analyzers say of the generated C."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcu_export.calibrate import calibrate
from mcu_export.quantize import quantize_network
from tests.helpers import after_passes, c_files, draw, toy, write_texts
from tests.home.conftest import KWS, Tool

NAMES = (
    'quote"quote',
    "a/b\\c",
    "*/ int x; /*",
    "über ☃",
    "while",
    "%s%n${x}",
    "-DNDEBUG",
    "line\nbreak",
    "x" * 200,
)
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


def renamed(target: Path) -> Path:
    """The demo network with layers called as in ``NAMES``."""
    with zipfile.ZipFile(KWS / "kws.keras") as source, zipfile.ZipFile(target, "w") as made:
        for item in source.namelist():
            data = source.read(item)
            if item == "config.json":
                text = json.loads(data)
                layers = [entry["config"]["name"] for entry in text["config"]["layers"]]
                data = json.dumps(text).encode()
                for old, new in zip(layers[1:], NAMES, strict=False):
                    data = data.replace(f'"{old}"'.encode(), json.dumps(new).encode())
            made.writestr(item, data)
    return target


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return renamed(tmp_path_factory.mktemp("hostile") / "net.keras")


def test_layer_names_that_hurt_stay_names(hostile: Path, tmp_path: Path, tool: Tool) -> None:
    samples = f"{KWS}/calibration.npz:features[:4]"
    done = tool(
        "export",
        str(hostile),
        "-o",
        "out",
        "--samples",
        samples,
        "--calibration",
        "mse",
        "--emit",
        "cpp",
    )
    assert done.returncode == 0, done.stderr
    names = [
        layer["name"] for layer in json.loads((tmp_path / "out/net.json").read_text())["layers"]
    ]
    assert any(name in names for name in NAMES)
    for compiler in (["gcc", "-std=c99"], ["g++", "-x", "c++"], ["clang", "-std=c99"]):
        command = [*compiler, *STRICT, "-fsyntax-only", str(tmp_path / "out/net.c")]
        subprocess.run(command, check=True)
    verified = tool("verify", "out", "--count", "2")
    assert verified.returncode == 0, verified.stderr
    assert tool("report", "out", "-o", "report.html").returncode == 0
    assert tool("compare", "out", "out").returncode == 0


def test_two_exports_at_once_leave_one_of_them_whole(tmp_path: Path, tool: Tool) -> None:
    """Different schemes into one folder: at the end the files are of one and the same export."""
    samples = ("--samples", f"{KWS}/calibration.npz:features[:4]", "--calibration", "mse")

    def export(scheme: str) -> int:
        model = str(KWS / "kws.keras")
        return tool("export", model, "-o", "out", "--scheme", scheme, *samples).returncode

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(export, ["q7", "q15", "q7", "q15"]))
    assert codes == [0, 0, 0, 0]
    folder = tmp_path / "out"
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []
    scheme = json.loads((folder / "kws.json").read_text())["scheme"]
    checked = tool(
        "export", str(KWS / "kws.keras"), "-o", "out", "--scheme", scheme, "--check", *samples
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("scheme", ["q7", "q15", "int8"])
def test_analyzers_find_nothing(tmp_path: Path, scheme: str) -> None:
    """On a small network: cppcheck takes minutes for large arrays of constants."""
    graph = after_passes(toy())
    quant = quantize_network(graph, calibrate(graph, draw(graph)), scheme, "mse")
    write_texts(tmp_path, c_files(quant))
    (source,) = tmp_path.glob("*.c")
    analyze = ["gcc", "-std=c99", "-O1", *STRICT, "-fanalyzer", "-c", source, "-o", "/dev/null"]
    done = subprocess.run(analyze, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    cppcheck = shutil.which("cppcheck")
    assert cppcheck, "this test needs cppcheck; make test installs it"
    checks = ["--enable=warning,portability", "--error-exitcode=1", "--max-configs=2"]
    command = [cppcheck, "--quiet", "--std=c99", *checks, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
