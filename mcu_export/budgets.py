"""``--max-flash``, ``--max-ram``, ``--max-stack``, ``--max-instructions``: gates of an export.

Flash and RAM are checked from the model at once, and from the object file where a compiler for
the board is installed. Stack and instructions need the compiler, instructions the emulator too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcu_export.build import Target
from mcu_export.errors import BudgetError
from mcu_export.exported import open_export
from mcu_export.object_file import ObjectFile, inspect_object
from mcu_export.report.advice import bytes_live
from mcu_export.verify import choose_inputs, verify

DEFAULT_BOARD = "mps2-an386"
FIX = "allow more, use a smaller network, or 8 bits (--scheme q7)"


@dataclass(frozen=True)
class Budgets:
    """Bytes and instructions allowed, None for no limit; ``board`` is where they are measured."""

    flash: int | None = None
    ram: int | None = None
    stack: int | None = None
    instructions: int | None = None
    board: str = ""

    @property
    def target(self) -> Target:
        """Where to measure."""
        return Target(self.board or DEFAULT_BOARD)


def check_model(manifest: Mapping[str, Any], budgets: Budgets) -> None:
    """Check what is known without a compiler.

    Raises:
        BudgetError: constants or arena are too large; names the largest consumers.
    """
    memory, layers = manifest["memory"], manifest["layers"]
    constants = _largest((layer["name"], layer["weight_bytes"]) for layer in layers)
    _gate("--max-flash", budgets.flash, memory["weights"], "of flash for its constants", constants)
    _gate(
        "--max-ram", budgets.ram, memory["ram"], "of RAM with the smallest kernels", _peak(manifest)
    )


def check_compiled(
    files: Mapping[str, bytes], name: str, calls_library: bool, budgets: Budgets
) -> None:
    """Check what a compiler and an emulator can tell; nothing where no budget asks for it.

    Args:
        files: the export.
        name: C name of the model.
        calls_library: the C calls kernels of CMSIS-NN, which are not part of the object file.
        budgets: what is allowed.

    Raises:
        BudgetError: something is too large.
        ToolchainError: stack or instructions are limited and the tools are missing.
    """
    must = budgets.stack is not None or budgets.instructions is not None
    may = budgets.flash is not None or budgets.ram is not None
    ready = shutil.which("arm-none-eabi-gcc") and (
        not calls_library or "CMSIS_NN_INC" in os.environ
    )
    if not must and not (may and ready):
        return
    with tempfile.TemporaryDirectory(prefix="mcu-export-") as folder:
        for file, content in files.items():
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _check_object(inspect_object(Path(folder), name, budgets.target), budgets)
        if budgets.instructions is not None:
            _check_instructions(Path(folder), name, budgets)


def _check_object(made: ObjectFile, budgets: Budgets) -> None:
    on = f" on {budgets.target.board}"
    _gate(
        "--max-flash",
        budgets.flash,
        made.flash,
        f"of flash with its code{on}",
        f"code {made.largest('t')}; constants {made.largest('r')}",
    )
    _gate("--max-ram", budgets.ram, made.ram, f"of RAM{on}", made.largest("bd"))
    if budgets.stack is None:
        return
    if made.stack is None:
        raise BudgetError(
            "the stack has no bound that the compiler can prove",
            where=f"--max-stack: {' -> '.join(made.stack_path)}",
            fix="use the backend plain-c",
        )
    _gate("--max-stack", budgets.stack, made.stack, f"of stack{on}", " -> ".join(made.stack_path))


def _check_instructions(folder: Path, name: str, budgets: Budgets) -> None:
    exported = open_export(folder, name)
    inputs = {key: array[:1] for key, array in choose_inputs(exported, "", None).items()}
    verdict = verify(exported, inputs, budgets.target)
    layers = zip(exported.layers, verdict.layer_instructions, strict=False)
    _gate(
        "--max-instructions",
        budgets.instructions,
        verdict.instructions or 0,
        f"on {budgets.target.board}",
        _largest(layers),
        unit="instructions",
    )


def _gate(
    option: str, limit: int | None, need: int, what: str, consumers: str, unit: str = "bytes"
) -> None:
    if limit is not None and need > limit:
        raise BudgetError(
            f"the network needs {need} {unit} {what}, {limit} are allowed",
            where=f"{option}; the largest: {consumers}",
            fix=FIX,
        )


def _largest(sizes: Any, count: int = 3) -> str:
    chosen: Sequence[tuple[str, int]] = sorted(sizes, key=lambda pair: -pair[1])[:count]
    return ", ".join(f"{name} {size:,}" for name, size in chosen)


def _peak(manifest: Mapping[str, Any]) -> str:
    """The buffers that are live together at the worst step."""
    buffers = manifest["arena"]

    steps = range(-1, len(manifest["layers"]) + 1)
    worst = max(steps, key=lambda step: bytes_live(manifest, step))
    live = [b for b in buffers if b["first_step"] <= worst <= b["last_step"]]
    return _largest((", ".join(b["values"]), b["bytes"]) for b in live)
