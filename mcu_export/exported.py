"""An export on disk, opened again by ``run``, ``verify`` and ``evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.network_file import read_network
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph


@dataclass(frozen=True, eq=False)
class Exported:
    """A folder that an export was written to.

    ``layers`` names the layers that have code, in the order in which they run; ``samples`` are the
    integers of the self-test.
    """

    folder: Path
    name: str
    manifest: Mapping[str, Any]
    quant: QuantGraph
    samples: Mapping[str, Array]

    @property
    def layers(self) -> list[str]:
        """Layers that have code, in the order in which they run."""
        return [layer["name"] for layer in self.manifest["layers"]]


def open_export(folder: Path, name: str = "") -> Exported:
    """The export in ``folder``; ``name`` chooses where there are several.

    Raises:
        ModelFileError: there is none, or several, or it is damaged.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("tool") == "mcu-export":
            found[path.stem] = content
    if name:
        found = {key: value for key, value in found.items() if key == name}
    if len(found) != 1:
        raise ModelFileError(
            f"several exports: {', '.join(found)}" if found else "no export in this folder",
            where=str(folder),
            fix="choose one with --name" if found else "run `mcu-export export MODEL -o DIR` first",
        )
    ((stem, manifest),) = found.items()
    quant, samples = read_network(folder / f"{stem}_reference.npz")
    details = manifest.get("details")
    if isinstance(details, dict):
        quant = replace(quant, graph=replace(quant.graph, details=details))
    return Exported(folder, stem, manifest, quant, samples)
