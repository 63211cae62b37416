"""mcu-export: from a trained network to fixed-point C for a Cortex-M.

``load`` reads a model file, ``export`` writes C. Both are imported on first use, so that the
command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcu_export.version import __version__

if TYPE_CHECKING:
    from mcu_export.api import export
    from mcu_export.loaders import load

__all__ = ["__version__", "export", "load"]


def __getattr__(name: str) -> Any:
    if name == "export":
        from mcu_export.api import export  # noqa: PLC0415

        return export
    if name == "load":
        from mcu_export.loaders import load  # noqa: PLC0415

        return load
    raise AttributeError(f"module 'mcu_export' has no attribute {name!r}")
