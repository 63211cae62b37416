"""Where templates and firmware lie: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from mcu_export.errors import InternalError

PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """The folder ``templates`` or ``firmware``.

    Raises:
        InternalError: the installation is not complete.
    """
    for folder in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise InternalError(
        f"the folder {name!r} is missing from the installation", fix="install again"
    )
