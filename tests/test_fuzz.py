"""``python -m tests.fuzz`` finds nothing in a few trials, and would say if it did."""

from __future__ import annotations

import pytest

from tests import fuzz


def test_a_few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCU_EXPORT_DATA", raising=False)
    said: list[str] = []
    assert fuzz.run(100, said.append) == 0
    assert any("refused keras" in line for line in said)
    assert any("refused configuration" in line for line in said)


def test_a_crash_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCU_EXPORT_DATA", raising=False)
    monkeypatch.setattr(fuzz, "load_network", lambda path: 1 / 0)
    said: list[str] = []
    assert fuzz.run(5, said.append) == 4
    assert "ZeroDivisionError" in said[0]
