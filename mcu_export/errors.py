"""The error tree: every failure a user can meet, with its exit code.

An error says *what* is wrong, *where* (file, layer, op) and *what to do*. The command line
prints these three and ends with ``exit_code``; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

from typing import ClassVar


class McuExportError(Exception):
    """Base of all errors of mcu-export.

    Args:
        what: one sentence: what is wrong.
        where: file, layer or option it was found in; may be empty.
        fix: what the user can do about it; may be empty.
    """

    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "export failed"

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class UsageError(McuExportError):
    """An option or argument that makes no sense."""

    exit_code = 2
    title = "usage"


class ModelFileError(McuExportError):
    """A model file that is missing, truncated, hostile or of an unknown format."""

    exit_code = 3
    title = "model file"


class UnsupportedLayerError(McuExportError):
    """A layer, an op or a combination that no stage or kernel handles."""

    exit_code = 4
    title = "layer not supported"


class SamplesError(McuExportError):
    """Calibration or test samples that cannot be used."""

    exit_code = 5
    title = "samples"


class BudgetError(McuExportError):
    """The network needs more flash or RAM than the user allows."""

    exit_code = 6
    title = "budget exceeded"


class VerificationError(McuExportError):
    """Outputs that differ from the reference, or an accuracy gate that is not met."""

    exit_code = 7
    title = "verification failed"


class ToolchainError(McuExportError):
    """A compiler or an emulator that is missing or failed."""

    exit_code = 8
    title = "toolchain"


class OutOfDateError(McuExportError):
    """``--check``: the files on disk are not what an export would write."""

    exit_code = 9
    title = "out of date"


class InternalError(McuExportError):
    """A stage broke a promise of its own: a bug of mcu-export, never of the user."""

    title = "internal error"
