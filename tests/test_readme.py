"""The README says what is true."""

from __future__ import annotations

import re

from mcu_export.cli import COMMANDS
from tests.readme import README, with_matrix


def test_the_support_matrix_is_current() -> None:
    text = README.read_text()
    assert text == with_matrix(text), "write it with: python -m tests.readme"


def test_every_command_is_described() -> None:
    described = re.findall(r"^\| `mcu-export (\w+)", README.read_text(), re.M)
    assert set(described) == set(COMMANDS)


def test_every_file_that_is_linked_exists() -> None:
    for page in (README, README.parent / "mcu_export/README.md", README.parent / "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        assert [link for link in links if not (page.parent / link).exists()] == []
