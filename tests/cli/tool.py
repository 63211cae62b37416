"""What the tests of the command line share."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess

from tests.helpers import KWS, ROOT, run

MODEL = str(KWS / "kws.keras")
CALIBRATION = f"{KWS / 'calibration.npz'}:features"
TEST = f"{KWS / 'test.npz'}:features"
LABELS = f"{KWS / 'test.npz'}:labels"
EXPORT_KEYS = {"name", "scheme", "backend", "inputs", "outputs", "layers", "memory", "macs"}
LAYER_KEYS = {"name", "op", "kernel", "macs", "weight_bytes", "accumulator_bound"}
VERIFY_KEYS = {
    *("on", "board", "outputs_compared", "mismatches", "first_difference"),
    *("instructions", "flash_bytes", "ram_bytes", "stack_bytes"),
}
EVALUATE_KEYS = {"samples", "float_accuracy", "accuracy", "agreement", "sqnr_db"}


class Result:
    """What a command said and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> dict:
        return json.loads(self.out)


def process(*arguments: object, **options: object) -> CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return run([sys.executable, *arguments], env=environment, **options)  # type: ignore[return-value]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def assert_error(done: Result, code: int, title: str) -> None:
    """Exit code, and a message with what, where and what to do; never a traceback."""
    assert done.code == code, done.err
    assert done.err.startswith(f"mcu-export: {title}: ")
    assert "where:" in done.err
    assert "Traceback" not in done.err + done.out
