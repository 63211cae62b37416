"""The tables of the README that are made; run as a module it writes the support matrix.

The measured ones are written by ``python -m tests.bench --readme``.
"""

from __future__ import annotations

import re
from pathlib import Path

from mcu_export.support import markdown, ops_table

README = Path(__file__).resolve().parents[1] / "README.md"
MATRIX = re.compile(r"(<!-- support matrix: [^\n]* -->\n).*?(<!-- end -->)", re.S)
MEASURED = re.compile(r"(<!-- measured: [^\n]* -->\n).*?(<!-- end of measured -->)", re.S)


def with_matrix(text: str) -> str:
    """The README's text with the support matrix that the tables give."""
    made, count = MATRIX.subn(lambda m: m[1] + markdown(ops_table()) + m[2], text)
    if count != 1:
        raise ValueError("the README has no support matrix")
    return made


def with_measured(text: str, tables: str) -> str:
    """The README's text with these tables of measurements."""
    made, count = MEASURED.subn(lambda m: m[1] + tables + m[2], text)
    if count != 1:
        raise ValueError("the README has no place for measurements")
    return made


if __name__ == "__main__":
    README.write_text(with_matrix(README.read_text()))
