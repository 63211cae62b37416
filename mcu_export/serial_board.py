"""``verify --on serial:DEVICE``: the commands that a real board answers; see firmware/README.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from mcu_export import serial_line
from mcu_export.build import Run, pack_inputs
from mcu_export.exported import Exported
from mcu_export.ops.base import Array, elements
from mcu_export.serial_line import DamagedError, Line, opened, sealed, unsealed
from mcu_export.verify import Verdict, compare

PROTOCOL = "mcu-export 2 "
ATTEMPTS = 4
NUMBER_DIGITS = 16

Answer = TypeVar("Answer")


class Board:
    """An export that runs at the other end of a line.

    A run destroys its input, so what is repeated after a damaged line is always the sample and
    its run together.
    """

    def __init__(self, exported: Exported, input_bytes: int, line: Line) -> None:
        sizes = {
            node.name: elements(node.node.shape) * np.dtype(node.format.dtype).itemsize
            for node in exported.quant.nodes
        }
        self.layer_bytes = [sizes[layer] for layer in exported.layers]
        numbers = f"{input_bytes:016x} {len(self.layer_bytes):016x}"
        self.greeting = f"{PROTOCOL}{exported.name} {numbers}"
        self.line = line
        line.longest = 2 * max(sizes.values()) + 4096

    def greet(self) -> None:
        """Bring both sides to the start of a line and see that the right model runs.

        Raises:
            SerialError: no greeting comes, or that of another model.
        """
        end = time.monotonic() + serial_line.TIMEOUT_SECONDS
        while True:
            self.line.send(b"\n" + sealed("h"))  # the empty line ends what was left of a broken one
            text = self._greeting(end)
            if text == self.greeting:
                return
            if text and text.startswith("mcu-export "):
                raise self.line.error(f"the board runs another model: {text}")

    def _greeting(self, end: float) -> str | None:
        """The greeting; what the board said before is skipped. None if it should be asked again."""
        while True:
            if time.monotonic() > end:
                raise self.line.error("the board sends, but no greeting")
            try:
                text = unsealed(self.line.receive_raw(end))
            except DamagedError:
                return None
            if text == "damaged" or (text and text.startswith("mcu-export ")):
                return text

    def run(self, sample: bytes) -> bytes:
        """The outputs of all layers, one after another."""
        return self._repeated(lambda: self._run(sample))

    def measure(self, sample: bytes) -> tuple[int, int]:
        """Instructions (or what the board counts) and bytes of stack of one inference."""
        return self._repeated(lambda: self._measure(sample))

    def _repeated(self, exchange: Callable[[], Answer]) -> Answer:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return exchange()
            except DamagedError:
                if attempt == ATTEMPTS:
                    raise
            self.greet()
        raise AssertionError

    def _run(self, sample: bytes) -> bytes:
        self._write(sample)
        self.line.send(sealed("r"))
        trace = b"".join(self._layer(index, size) for index, size in enumerate(self.layer_bytes))
        self._expect(self.line.receive() == "done", "more layers than the manifest has")
        return trace

    def _measure(self, sample: bytes) -> tuple[int, int]:
        self._write(sample)
        words = self.line.ask("m").split()
        self._expect(len(words) == 3 and words[0] == "cost", "no answer to m")
        return self._number(words[1]), self._number(words[2])

    def _write(self, sample: bytes) -> None:
        self._expect(self.line.ask("i" + sample.hex()) == "ok", "no answer to i")

    def _layer(self, index: int, size: int) -> bytes:
        """The output of a layer, which may come in several lines."""
        output = bytearray()
        while len(output) < size:
            words = self.line.receive().split(" ")
            good = len(words) == 3 and words[:2] == ["layer", f"{index:016x}"]
            self._expect(good, f"layer {index} was not sent")
            try:
                output += bytes.fromhex(words[2])
            except ValueError:
                raise self.line.error(f"layer {index} is not hexadecimal") from None
        self._expect(len(output) == size, f"layer {index} has more bytes than the manifest says")
        return bytes(output)

    def _number(self, text: str) -> int:
        good = len(text) == NUMBER_DIGITS and set(text) <= set("0123456789abcdef")
        self._expect(good, "the cost is no number")
        return int(text, 16)

    def _expect(self, good: bool, what: str) -> None:
        if not good:
            raise self.line.error(what)


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
        SerialError: the board does not answer, or runs another model, or the line damages every
            attempt.
    """
    dtypes = {key: fmt.dtype for key, fmt in exported.quant.formats().items()}
    count = len(next(iter(inputs.values())))
    samples = np.frombuffer(pack_inputs(inputs, dtypes), np.uint8).reshape(count, -1)
    board = Board(exported, samples.shape[1], line)
    board.greet()
    trace = bytearray()
    for index, sample in enumerate(samples):
        trace += board.run(sample.tobytes())
        progress(index + 1)
    instructions, stack = board.measure(samples[-1].tobytes())
    return Run(bytes(trace), instructions, stack)


def verify_serial(
    exported: Exported,
    inputs: Mapping[str, Array],
    device: str,
    baud: int,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Verdict, int]:
    """Run on a board and compare with the reference, as :func:`mcu_export.verify.verify` does.

    Returns:
        The verdict, and how many lines came damaged and were sent again.
    """
    with opened(device, baud) as line:
        run = run_serial(exported, inputs, line, progress)
    compared, mismatches, first = compare(exported, inputs, run.trace, lambda done: None)
    verdict = Verdict(
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
    return verdict, line.damaged
