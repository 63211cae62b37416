"""``NAME_measured.json``: what ``verify --on qemu`` measured, for ``compare`` and ``report``.

It lies beside the export and holds the digest of its manifest: figures of another export are
never taken for those of this one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mcu_export.exported import Exported
from mcu_export.write import WriteError, write_files

MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class Measured:
    """Costs of one inference on a board, compiled with the options given.

    ``layer_instructions`` has one count per layer with code, in their order.
    """

    board: str
    core: str
    optimize: str
    instructions: int
    stack_bytes: int
    flash_bytes: int
    ram_bytes: int
    layer_instructions: tuple[int, ...]

    @property
    def target(self) -> str:
        """Board, core and optimization as one text."""
        return " ".join(filter(None, (self.board, self.core, self.optimize)))


def read_measured(exported: Exported) -> dict[str, Measured]:
    """What was measured of this very export, by target; empty if nothing was."""
    path = _path(exported)
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        content = json.loads(path.read_text())
        if content["manifest_sha256"] != _digest(exported):
            return {}
        found = [_decode(entry) for entry in content["measured"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {one.target: one for one in found}


def write_measured(exported: Exported, measured: Measured) -> bool:
    """Remember figures beside the export; whether that worked: a folder may be read-only."""
    known = {**read_measured(exported), measured.target: measured}
    content = {
        "tool": "mcu-export verify",
        "manifest_sha256": _digest(exported),
        "measured": [asdict(known[target]) for target in sorted(known)],
    }
    path = _path(exported)
    try:
        write_files(path.parent, {path.name: json.dumps(content, indent=2).encode() + b"\n"})
    except WriteError:
        return False
    return True


def _path(exported: Exported) -> Path:
    return exported.folder / f"{exported.name}_measured.json"


def _digest(exported: Exported) -> str:
    manifest = exported.folder / f"{exported.name}.json"
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def _decode(entry: Mapping[str, Any]) -> Measured:
    values = {field.name: entry[field.name] for field in fields(Measured)}
    for name in ("instructions", "stack_bytes", "flash_bytes", "ram_bytes"):
        values[name] = int(values[name])
    values["layer_instructions"] = tuple(int(count) for count in values["layer_instructions"])
    return Measured(**values)
