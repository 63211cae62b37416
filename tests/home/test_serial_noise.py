"""The serial protocol under noise: what serial.c does with any bytes, and what the host does."""

from __future__ import annotations

import os
import pty
import random
import subprocess
import threading
import tty
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export import serial_line
from mcu_export.backends import BACKENDS
from mcu_export.exported import open_export
from mcu_export.fit import fit
from mcu_export.ops import elements
from mcu_export.serial_board import verify_serial
from mcu_export.serial_line import SerialError, sealed, unsealed
from mcu_export.verify import choose_inputs, random_inputs
from tests.backends.test_turns import network_with_pooling
from tests.cases.test_cases import exported_of, quantized
from tests.home.conftest import ROOT

STUB = Path(__file__).with_name("serial_stub.c")
HELLO = sealed("h")
Change = Callable[[bytes], bytes]


def build_board(export: Path, name: str, made: Path) -> Path:
    """``serial.c`` with an exported network as a process, with both sanitizers."""
    firmware = ROOT / "firmware"
    command = ["gcc", "-std=c99", "-O1", "-g", "-fsanitize=address,undefined"]
    command += ["-fno-sanitize-recover=all", "-DMCU_EXPORT_TRACE"]
    command += [f'-DMODEL_TEST_HEADER="{name}_test.h"', f"-DMODEL_TEST={name}_test"]
    command += [f"-I{firmware}", f"-I{export}", "-o", str(made), str(STUB)]
    command += [f"{firmware}/serial.c", f"{firmware}/measure.c", f"{export}/{name}.c"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture(scope="module")
def program(kws_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board with the demo network."""
    return build_board(kws_export, "kws", tmp_path_factory.mktemp("serial") / "board")


def answers(program: Path, sent: bytes) -> list[str]:
    """What the board answers, line by line; every line is intact."""
    done = subprocess.run([program], input=sent, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [unsealed(line) for line in done.stdout.splitlines()]
    assert None not in lines
    return [line for line in lines if line is not None]


@given(st.text(st.characters(max_codepoint=127, exclude_characters="\n")))
def test_a_line_comes_back_and_a_changed_one_does_not(text: str) -> None:
    line = sealed(text)[:-1]
    assert unsealed(line) == text
    assert zlib.crc32(text.encode()) == int(line[-8:], 16)
    for index in range(len(line)):
        for bit in (0x01, 0x20, 0x80):
            assert unsealed(line[:index] + bytes([line[index] ^ bit]) + line[index + 1 :]) is None
        assert unsealed(line[:index] + line[index + 1 :]) is None


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"h\n", "damaged"),
        (b"h*916b06e8\n", "damaged"),
        (b"h*916b06e\n", "damaged"),
        (b"h*916b06e70\n", "damaged"),
        (b"h*0916b06e7\n", "damaged"),
        (b"H*916b06e7\n", "damaged"),
        (b"h*916b06e7\r\n", "damaged"),
        (sealed("x"), "error this is no command: h, i, r, m are"),
        (sealed("i00"), "error the sample is not as long as the inputs, or not hexadecimal"),
        (sealed("i" + "00" * 491), "error the sample is not as long as the inputs, or not hex"),
        (sealed("i" + "0g" * 490), "error the sample is not as long as the inputs, or not hex"),
        (sealed("i" + "0" * 979), "error the sample is not as long as the inputs, or not hex"),
        (sealed("i" + "7f" * 490), "ok"),
        (sealed("m"), f"cost {0:016x}"),
    ],
)
def test_what_the_board_answers(program: Path, sent: bytes, answer: str) -> None:
    said = answers(program, b"\n" + sent + b"\n" + HELLO)
    assert said[0].startswith(answer)
    assert said[1:] == [f"mcu-export 2 kws {490:016x} {12:016x}"]


def test_no_bytes_harm_the_board(program: Path) -> None:
    """Noise and damaged commands; after any of it, an empty line and h bring the greeting."""
    chance = random.Random(1)
    commands = [HELLO, sealed("i" + "80" * 490), sealed("r"), sealed("m"), sealed("i")]
    sent = b""
    for _ in range(2000):
        line = bytearray(chance.choice(commands))
        if chance.random() < 0.3:
            line = bytearray(chance.randbytes(chance.randrange(60)))
        for _ in range(chance.randrange(1, 4) if line else 0):
            line[chance.randrange(len(line))] = chance.randrange(256)
        sent += bytes(line) + b"\n" + HELLO
    said = answers(program, sent)
    assert said.count(f"mcu-export 2 kws {490:016x} {12:016x}") >= 2000


@pytest.fixture
def noisy(program: Path) -> Iterator[Callable[..., str]]:
    """Starts a board behind a terminal that changes what goes to it and what comes from it."""
    processes = []

    def start(there: Change, back: Change, board: Path = program) -> str:
        mine, theirs = pty.openpty()
        tty.setraw(mine)
        tty.setraw(theirs)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([board], bufsize=0, **pipes)  # type: ignore[call-overload]
        processes.append((process, mine))

        def pump(source: int, target: int, change: Change) -> None:
            try:
                while data := os.read(source, 4096):
                    changed = change(data)
                    while changed:
                        changed = changed[os.write(target, changed) :]
            except OSError:
                pass

        for way in ((mine, process.stdin.fileno(), there), (process.stdout.fileno(), mine, back)):
            threading.Thread(target=pump, args=way, daemon=True).start()
        return os.ttyname(theirs)

    yield start
    for process, mine in processes:
        process.kill()
        process.wait()
        os.close(mine)


def noise(rate: float, seed: int) -> Change:
    """Flips, drops and doubles bytes, each with the probability ``rate``."""
    chance = random.Random(seed)

    def change(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if chance.random() >= rate:
                out.append(byte)
                continue
            out += chance.choice([b"", bytes([byte ^ 1 << chance.randrange(8)]), bytes([byte] * 2)])
        return bytes(out)

    return change


def same(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rate", [0.0, 3e-6, 1e-3])
def test_noise_never_gives_a_wrong_verdict(
    kws_export: Path,
    noisy: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
    seed: int,
) -> None:
    """Either every integer is right in the end, or an error says that the line is at fault."""
    monkeypatch.setattr(serial_line, "TIMEOUT_SECONDS", 3.0)
    exported = open_export(kws_export)
    inputs = {key: array[:2] for key, array in choose_inputs(exported, "", None).items()}
    device = noisy(noise(rate, seed), noise(rate, seed + 100))
    try:
        verdict, damaged = verify_serial(exported, inputs, device, 115200)
    except SerialError as error:
        assert rate > 0.0
        assert error.where == device
    else:
        assert (verdict.mismatches, verdict.outputs_compared) == (0, 144_176)
        assert rate > 0.0 or damaged == 0
        assert rate < 1e-3


def test_one_damaged_line_is_sent_again(kws_export: Path, noisy: Callable[..., str]) -> None:
    """One bit, in the middle of a layer: the sample is repeated."""
    sent = 0

    def back(data: bytes) -> bytes:
        nonlocal sent
        start, sent = sent, sent + len(data)
        where = 50_000 - start
        if 0 <= where < len(data):
            return data[:where] + bytes([data[where] ^ 2]) + data[where + 1 :]
        return data

    exported = open_export(kws_export)
    inputs = {key: array[:2] for key, array in choose_inputs(exported, "", None).items()}
    verdict, damaged = verify_serial(exported, inputs, noisy(same, back), 115200)
    assert (verdict.mismatches, damaged) == (0, 1)


@pytest.mark.parametrize("flood", [b"x" * 4096, b"\n" * 4096, b"mcu-export\n" * 400, bytes(4096)])
def test_endless_garbage_ends_with_an_error(
    kws_export: Path, monkeypatch: pytest.MonkeyPatch, flood: bytes
) -> None:
    monkeypatch.setattr(serial_line, "TIMEOUT_SECONDS", 1.0)
    mine, theirs = pty.openpty()
    tty.setraw(mine)
    tty.setraw(theirs)

    def send() -> None:
        try:
            while True:
                os.write(mine, flood)
        except OSError:
            pass

    threading.Thread(target=send, daemon=True).start()
    exported = open_export(kws_export)
    inputs = {key: array[:1] for key, array in choose_inputs(exported, "", None).items()}
    with pytest.raises(SerialError):
        verify_serial(exported, inputs, os.ttyname(theirs), 115200)
    os.close(theirs)
    os.close(mine)


def test_rows_of_a_layer_come_in_several_lines(noisy: Callable[..., str], tmp_path: Path) -> None:
    quant = quantized(network_with_pooling(), "q7")
    exported = exported_of(quant, *fit(quant, BACKENDS["plain-c"], "net"), tmp_path)
    device = noisy(same, same, build_board(tmp_path, "net", tmp_path / "board"))
    verdict, _ = verify_serial(exported, random_inputs(quant, 2), device, 115200)
    integers = sum(elements(node.node.shape) for node in quant.nodes)
    assert (verdict.mismatches, verdict.outputs_compared) == (0, 2 * integers)
