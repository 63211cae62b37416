"""``verify --on serial:DEVICE``, over QEMU's serial line and against a board that misbehaves."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcu_export import serial_line
from mcu_export.errors import ToolchainError
from mcu_export.exported import open_export
from mcu_export.serial_board import verify_serial
from mcu_export.serial_line import opened, sealed
from mcu_export.verify import choose_inputs
from tests.home.conftest import ROOT, Tool

BOARDS = ["mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547"]


@pytest.fixture
def device(kws_export: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A terminal behind which QEMU runs ``serial.c`` with the demo network."""
    command = ["make", "--no-print-directory", "-C", str(ROOT / "firmware"), "run"]
    command += ["PROGRAM=serial", "SERIAL=pty", f"BOARD={request.param}", "MODEL=kws"]
    command += [f"MODEL_DIR={kws_export}", f"BUILD={tmp_path / 'build'}", "TIMEOUT=120"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            found = re.search(r"redirected to (\S+)", line)
            if found:
                break
        else:
            pytest.fail(said)
        yield found[1]
        os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.parametrize("device", BOARDS, indirect=True)
def test_a_board_equals_the_reference(device: str, kws_export: Path, tool: Tool) -> None:
    done = tool("verify", str(kws_export), "--on", f"serial:{device}", "--count", "1", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["on"], verdict["samples"], verdict["mismatches"]) == ("serial", 1, 0)
    assert verdict["outputs_compared"] > 70_000
    assert verdict["instructions"] > 1_000_000
    assert 50 < verdict["stack_bytes"] < 2_000


@pytest.mark.parametrize("device", ["mps2-an386"], indirect=True)
def test_a_difference_comes_over_the_line(
    device: str, kws_export: Path, tmp_path: Path, tool: Tool
) -> None:
    """The export on disk gets another reference than the board runs: the integers differ."""
    from mcu_export.network_file import write_network  # noqa: PLC0415

    folder = Path(shutil.copytree(kws_export, tmp_path / "copy"))
    exported = open_export(folder)
    exported.quant.nodes[2].params["bias"][0] += 40
    (folder / "kws_reference.npz").write_bytes(write_network(exported.quant, exported.samples))
    done = tool("verify", "copy", "--on", f"serial:{device}", "--count", "1")
    assert done.returncode == 7
    assert "layer pointwise1 (conv2d)" in done.stderr


def board(answers: dict[str, str]) -> str:
    """A terminal whose other end answers each command by its first letter, like a bad board."""
    mine, theirs = pty.openpty()
    tty.setraw(mine)
    tty.setraw(theirs)

    def talk() -> None:
        with os.fdopen(mine, "r+b", buffering=0) as line:
            try:
                for command in iter(line.readline, b""):
                    answer = answers.get(command[:1].decode(), "")
                    line.write(answer.encode())
            except OSError:
                pass

    threading.Thread(target=talk, daemon=True).start()
    return os.ttyname(theirs)


def said(text: str) -> str:
    """A line as the board sends it."""
    return sealed(text).decode()


GREETING = f"mcu-export 2 kws {490:016x} {12:016x}"
HELLO = "booting...\n" + said(GREETING)
OK = {"h": HELLO, "i": said("ok")}


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "does not answer"),
        ({"h": GREETING + "\n"}, "does not answer"),
        ({"h": said(GREETING.replace("kws", "other"))}, "another model"),
        ({"h": said(GREETING.replace("export 2", "export 1"))}, "another model"),
        ({"h": HELLO, "i": said("error too hot")}, "the board says: too hot"),
        ({"h": HELLO, "i": said("damaged")}, "a line to the board was damaged"),
        ({**OK, "r": said(f"layer {1:016x} 00")}, "layer 0 was not sent"),
        ({**OK, "r": said(f"layer {0:016x} 0g")}, "layer 0 is not hexadecimal"),
        ({**OK, "r": said(f"layer {0:016x} 00").replace("x 0", "x 1")[:-2] + "\n"}, "damaged"),
        ({**OK, "r": f"layer {0:016x} 00"}, "stopped in the middle"),
    ],
)
def test_a_board_that_misbehaves(
    kws_export: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], says: str
) -> None:
    monkeypatch.setattr(serial_line, "TIMEOUT_SECONDS", 0.5)
    exported = open_export(kws_export)
    inputs = {key: array[:1] for key, array in choose_inputs(exported, "", None).items()}
    with pytest.raises(ToolchainError, match=says):
        verify_serial(exported, inputs, board(answers), 115200)


def test_a_device_that_is_none(tmp_path: Path, kws_export: Path, tool: Tool) -> None:
    with pytest.raises(ToolchainError, match="cannot open"), opened(str(tmp_path / "x"), 9600):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolchainError, match="no serial line"), opened(f"{tmp_path}/file", 9600):
        pass
    with pytest.raises(ToolchainError, match="no rate of 1234"), opened("/dev/null", 1234):
        pass
    assert tool("verify", str(kws_export), "--on", "moon").returncode == 2
