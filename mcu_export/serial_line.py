"""Lines of text with a checksum over a serial line; firmware/README.md has the protocol."""

from __future__ import annotations

import os
import select
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from mcu_export.errors import ToolchainError

TIMEOUT_SECONDS = 30.0
FIX = "does firmware/serial.c run there, with this export, at this baud rate?"


class SerialError(ToolchainError):
    """The board does not answer, or answers what it should not."""


class DamagedError(SerialError):
    """A line whose checksum is wrong, or that stops in the middle: worth another try."""


def sealed(text: str) -> bytes:
    """A line as it is sent: the text, ``*``, its CRC-32 in 8 digits, a line feed."""
    return f"{text}*{zlib.crc32(text.encode('ascii')):08x}\n".encode("ascii")


def unsealed(line: bytes) -> str | None:
    """The text of a line without its line feed; None if the checksum is missing or wrong."""
    body, star, checksum = line.rpartition(b"*")
    if not star or checksum != b"%08x" % zlib.crc32(body) or not body.isascii():
        return None
    return body.decode("ascii")


class Line:
    """Lines over a file descriptor, each within ``TIMEOUT_SECONDS``.

    Attributes:
        longest: bytes of the longest line that the board may send; more is noise.
        damaged: lines that came with a wrong checksum, or of which the board said so.
    """

    def __init__(self, descriptor: int, device: str) -> None:
        self.descriptor, self.device = descriptor, device
        self.longest = 4096
        self.damaged = 0
        self._received = bytearray()

    def ask(self, text: str) -> str:
        """Send a line and return the next one that comes."""
        self.send(sealed(text))
        return self.receive()

    def send(self, data: bytes) -> None:
        """Send bytes; the board may read slowly.

        Raises:
            SerialError: it does not read, or the line broke.
        """
        while data:
            if not select.select([], [self.descriptor], [], TIMEOUT_SECONDS)[1]:
                raise self.error("the board does not read what is sent")
            try:
                data = data[os.write(self.descriptor, data[:256]) :]
            except OSError as error:
                raise self.error(f"the line broke: {error.strerror}") from error

    def receive(self) -> str:
        """The next line.

        Raises:
            DamagedError: it is damaged, or does not come to its end.
            SerialError: it does not come in time, or is an error of the board.
        """
        text = unsealed(self.receive_raw(time.monotonic() + TIMEOUT_SECONDS))
        if text is None or text == "damaged":
            self.damaged += 1
            way = "to" if text else "from"
            raise DamagedError(
                f"a line {way} the board was damaged: its checksum is wrong",
                where=self.device,
                fix="use a shorter cable, a lower --baud, and a ground wire",
            )
        if text.startswith("error "):
            raise self.error(f"the board says: {text.removeprefix('error ')}")
        return text

    def receive_raw(self, end: float) -> bytes:
        """The next line, whatever is in it, without its line feed; ``end`` as time.monotonic()."""
        while b"\n" not in self._received:
            wait = max(0.0, end - time.monotonic())
            ready = select.select([self.descriptor], [], [], wait)[0]
            try:
                data = os.read(self.descriptor, 65536) if ready else b""
            except OSError as error:
                raise self.error(f"the line broke: {error.strerror}") from error
            if not data:
                raise self._silence()
            self._received += data
            if len(self._received) > self.longest and b"\n" not in self._received:
                self._received.clear()
                raise self._damaged("a line from the board does not end")
            end = max(end, time.monotonic() + 1.0) if len(data) > 1 else end
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        return line.rstrip(b"\r")

    def _silence(self) -> SerialError:
        if self._received:
            self._received.clear()
            return self._damaged("a line from the board stopped in the middle")
        return self.error("the board does not answer")

    def _damaged(self, what: str) -> DamagedError:
        self.damaged += 1
        return DamagedError(what, where=self.device, fix=FIX)

    def error(self, what: str) -> SerialError:
        """An error that names the device."""
        return SerialError(what, where=self.device, fix=FIX)


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
