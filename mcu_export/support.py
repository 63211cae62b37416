"""What this version can do, as tables: read from the tables that do it, never written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mcu_export.backends import BACKENDS
from mcu_export.build import boards
from mcu_export.choose import OUTPUT
from mcu_export.efforts import EFFORTS
from mcu_export.emit import EMITS
from mcu_export.ops import OPS
from mcu_export.program import LEVELS
from mcu_export.quantize import ABOUT_SCHEMES, CALIBRATIONS

Table = tuple[list[str], Sequence[tuple[str, ...]]]


def ops_table() -> Table:
    """Every op, and for each backend the schemes in which it runs it."""
    rows = []
    for kind, op in OPS.items():
        cells = []
        for backend in BACKENDS.values():
            schemes = {s for kernel in backend.kernels if kernel.op is op for s in kernel.schemes}
            cells.append(", ".join(s for s in ABOUT_SCHEMES if s in schemes))
        rows.append((kind, (op.__doc__ or "").splitlines()[0].replace("``", ""), *cells))
    return ["op", "what", *BACKENDS], rows


def schemes_table() -> Table:
    """Every number scheme."""
    return ["scheme", "what"], list(ABOUT_SCHEMES.items())


def backends_table() -> Table:
    """Every backend with its schemes."""
    rows = [(b.name, b.about, ", ".join(b.schemes)) for b in BACKENDS.values()]
    return ["backend", "what", "schemes"], rows


def boards_table() -> Table:
    """Every board of the firmware, and the host."""
    rows = [("host", "this computer"), *boards().items()]
    return ["board", "what"], rows


def emit_table() -> Table:
    """Everything that ``export --emit`` takes."""
    rows = [
        (kind, about, ", ".join(one.file.format(name="NAME") for one in files))
        for kind, (about, files) in EMITS.items()
    ]
    return ["emit", "what", "files"], rows


TABLES: dict[str, Callable[[], Table]] = {
    "ops": ops_table,
    "schemes": schemes_table,
    "backends": backends_table,
    "boards": boards_table,
    "emit": emit_table,
}

CHOICES: dict[str, Callable[[], Iterable[str]]] = {
    "scheme": lambda: ABOUT_SCHEMES,
    "backend": lambda: BACKENDS,
    "board": boards,
    "emit": lambda: EMITS,
    "calibration": lambda: (OUTPUT, *CALIBRATIONS),
    "effort": lambda: EFFORTS,
    "optimize": lambda: LEVELS,
}
"""The words that an option takes, for completion in the shell."""


def markdown(table: Table) -> str:
    """The table as Markdown, as the README shows it."""
    columns, rows = table
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
