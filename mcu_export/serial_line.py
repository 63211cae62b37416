"""``verify --on serial:DEVICE``: a real board over its serial line; see firmware/README.md."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from mcu_export.build import Run, pack_inputs
from mcu_export.errors import ToolchainError
from mcu_export.exported import Exported
from mcu_export.ops.base import Array
from mcu_export.verify import Verdict, compare

PROTOCOL = "mcu-export 1 "
TIMEOUT_SECONDS = 30.0
LONGEST_LINE = 64_000_000


class Line:
    """Lines of text over a file descriptor, each within ``TIMEOUT_SECONDS``."""

    def __init__(self, descriptor: int, device: str) -> None:
        self.descriptor, self.device = descriptor, device
        self.received = bytearray()

    def ask(self, text: str) -> str:
        """Send a line and return the next one that comes."""
        self.send(text)
        return self.receive()

    def send(self, text: str) -> None:
        """Send a line; the board may read slowly."""
        data = text.encode("ascii") + b"\n"
        while data:
            if not select.select([], [self.descriptor], [], TIMEOUT_SECONDS)[1]:
                raise self._error("the board does not read what is sent")
            data = data[os.write(self.descriptor, data[:256]) :]

    def receive(self) -> str:
        """The next line.

        Raises:
            ToolchainError: it does not come in time, or is an error of the board.
        """
        end = time.monotonic() + TIMEOUT_SECONDS
        while b"\n" not in self.received:
            left = max(0.0, end - time.monotonic())
            ready = select.select([self.descriptor], [], [], left)[0]
            try:
                data = os.read(self.descriptor, 65536) if ready else b""
            except OSError as error:
                raise self._error(f"the line broke: {error.strerror}") from error
            if not data or len(self.received) > LONGEST_LINE:
                raise self._error("the board does not answer")
            self.received += data
            end = time.monotonic() + TIMEOUT_SECONDS
        line, _, rest = bytes(self.received).partition(b"\n")
        self.received = bytearray(rest)
        text = line.decode("ascii", "replace").strip()
        if text.startswith("error "):
            raise self._error(f"the board says: {text.removeprefix('error ')}")
        return text

    def _error(self, what: str) -> ToolchainError:
        return ToolchainError(
            what,
            where=self.device,
            fix="does firmware/serial.c run there, with this export, at this baud rate?",
        )


@contextmanager
def opened(device: str, baud: int) -> Iterator[Line]:
    """The line to a board, raw, 8 data bits, no parity, 1 stop bit.

    Raises:
        ToolchainError: the device cannot be opened, or has no such baud rate.
    """
    try:
        import termios  # noqa: PLC0415 -- not on Windows
        import tty  # noqa: PLC0415
    except ImportError as error:
        raise ToolchainError("serial lines need a POSIX system", where=device) from error
    rate = getattr(termios, f"B{baud}", None)
    if rate is None:
        raise ToolchainError(f"there is no rate of {baud} baud", where=device, fix="--baud 115200")
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise ToolchainError(
            f"cannot open the serial line: {error.strerror}",
            where=device,
            fix="is the board plugged in, and may you use it (group dialout)?",
        ) from error
    try:
        tty.setraw(descriptor)
        settings = termios.tcgetattr(descriptor)
        settings[4] = settings[5] = rate
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)
        termios.tcflush(descriptor, termios.TCIOFLUSH)
        yield Line(descriptor, device)
    except termios.error as error:
        raise ToolchainError(f"this is no serial line: {error.args[-1]}", where=device) from error
    finally:
        os.close(descriptor)


def run_serial(
    exported: Exported, inputs: Mapping[str, Array], line: Line, progress: Callable[[int], None]
) -> Run:
    """Run samples on the board.

    Args:
        exported: the export that runs there.
        inputs: integers for each input, (samples, *shape).
        line: the line to the board.
        progress: called with the number of samples done.

    Raises:
        ToolchainError: the board does not answer, or runs another model.
    """
    dtypes = {key: fmt.dtype for key, fmt in exported.quant.formats().items()}
    count = len(next(iter(inputs.values())))
    samples = np.frombuffer(pack_inputs(inputs, dtypes), np.uint8).reshape(count, -1)
    _check_model(exported, samples.shape[1], _hello(line), line.device)
    trace = bytearray()
    for index, sample in enumerate(samples):
        line.ask("i" + sample.tobytes().hex())
        line.send("r")
        for layer in range(len(exported.layers)):
            trace += _layer(line.receive(), layer, line.device)
        _expect(line.receive() == "done", "more layers than the manifest has", line.device)
        progress(index + 1)
    line.ask("i" + samples[-1].tobytes().hex())
    words = line.ask("m").split()
    _expect(len(words) == 3 and words[0] == "cost", "no answer to m", line.device)
    return Run(bytes(trace), int(words[1], 16), int(words[2], 16))


def _hello(line: Line) -> list[str]:
    """The greeting; what the board said before, when it booted, is skipped."""
    line.send("")
    line.send("h")
    while True:
        text = line.receive()
        if text.startswith(PROTOCOL):
            return text.removeprefix(PROTOCOL).split()


def _check_model(exported: Exported, input_bytes: int, hello: list[str], device: str) -> None:
    wanted = [exported.name, f"{input_bytes:016x}", f"{len(exported.layers):016x}"]
    _expect(hello == wanted, f"the board runs another model: {' '.join(hello)}", device)


def _layer(text: str, index: int, device: str) -> bytes:
    words = text.split()
    good = len(words) == 3 and words[:2] == ["layer", f"{index:016x}"]
    _expect(good, f"layer {index} was not sent", device)
    try:
        return bytes.fromhex(words[2])
    except ValueError:
        _expect(False, f"layer {index} is damaged", device)
        return b""


def _expect(good: bool, what: str, device: str) -> None:
    if not good:
        raise ToolchainError(what, where=device, fix="build firmware/serial.c with this export")


def verify_serial(
    exported: Exported,
    inputs: Mapping[str, Array],
    device: str,
    baud: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Run on a board and compare with the reference, as :func:`mcu_export.verify.verify` does."""
    with opened(device, baud) as line:
        run = run_serial(exported, inputs, line, progress)
    compared, mismatches, first = compare(exported, inputs, run.trace, lambda done: None)
    return Verdict(
        on="serial",
        board=device,
        samples=len(next(iter(inputs.values()))),
        outputs_compared=compared,
        mismatches=mismatches,
        first_difference=first,
        instructions=run.instructions,
        flash_bytes=None,
        ram_bytes=None,
        stack_bytes=run.stack_bytes,
    )
