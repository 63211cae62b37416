"""The gates on flash, RAM, stack and instructions, and what they are measured from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.api import Sources, export_files
from mcu_export.build import Target
from mcu_export.errors import BudgetError, ToolchainError
from mcu_export.exported import open_export
from mcu_export.object_file import LIBRARY_STACK, deepest, inspect_object
from mcu_export.verify import choose_inputs, verify
from tests.home.conftest import FEATURES, KWS

CALLS = """\
node: { title: "m_run" label: "m_run\\nm.c:1:6\\n16 bytes (static)" }
node: { title: "m.c:conv" label: "conv\\nm.c:5:6\\n100 bytes (static)" }
node: { title: "pool" label: "pool\\nm.c:9:6\\n8 bytes (static)" }
node: { title: "memcpy" label: "memcpy\\n<built-in>" shape : ellipse }
edge: { sourcename: "m_run" targetname: "m.c:conv" label: "m.c:2:2" }
edge: { sourcename: "m_run" targetname: "pool" label: "m.c:3:2" }
edge: { sourcename: "pool" targetname: "memcpy" label: "m.c:10:2" }
"""


def export(folder: Path, **budgets: object) -> None:
    sources = Sources(KWS / "kws.keras", FEATURES)
    export_files(sources, folder, {"name": "kws", "calibration": "mse", **budgets})


@pytest.mark.parametrize(
    ("budget", "says", "consumer"),
    [
        ({"max_flash": 20_000}, "of flash for its constants", "pointwise1 4,160"),
        ({"max_flash": 23_500}, "of flash with its code on mps2-an386", "kws_run"),
        ({"max_ram": 7_000}, "of RAM", "8,000"),
        ({"max_stack": 50, "board": "mps2-an385"}, "of stack on mps2-an385", "kws_run -> "),
        ({"max_instructions": 9_999}, "instructions on mps2-an386", "pointwise"),
    ],
)
def test_a_budget_that_is_exceeded_names_the_largest(
    tmp_path: Path, budget: dict[str, object], says: str, consumer: str
) -> None:
    with pytest.raises(BudgetError) as caught:
        export(tmp_path / "out", **budget)
    assert says in caught.value.what
    assert consumer in caught.value.where
    assert not (tmp_path / "out").exists()


def test_budgets_that_are_met_let_the_export_pass(tmp_path: Path) -> None:
    export(
        tmp_path, max_flash=100_000, max_ram=16_000, max_stack=2_000, max_instructions=50_000_000
    )
    assert (tmp_path / "kws.c").is_file()


def test_without_a_compiler_the_model_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    export(tmp_path / "out", max_flash=23_500)
    with pytest.raises(BudgetError, match="for its constants"):
        export(tmp_path / "out", max_flash=20_000)
    with pytest.raises(ToolchainError, match="not installed"):
        export(tmp_path / "out", max_stack=2_000)


def test_the_deepest_path_is_found() -> None:
    assert deepest(CALLS, "m_run") == (116, ("m_run", "conv"))
    shallow = CALLS.replace("100 bytes", "10 bytes")
    assert deepest(shallow, "m_run") == (16 + 8 + LIBRARY_STACK, ("m_run", "pool", "memcpy"))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("100 bytes (static)", "100 bytes (dynamic)"), ("m_run", "m.c:conv")),
        (('targetname: "memcpy"', 'targetname: "m_run"'), ("m_run", "pool", "m_run")),
        (
            ('targetname: "memcpy"', 'targetname: "__indirect_call"'),
            ("m_run", "pool", "__indirect_call"),
        ),
    ],
)
def test_a_stack_without_a_bound_is_no_number(
    change: tuple[str, str], path: tuple[str, ...]
) -> None:
    assert deepest(CALLS.replace(*change), "m_run") == (None, path)


@pytest.mark.parametrize("board", ["mps2-an385", "mps2-an386", "mps3-an547"])
def test_the_proven_stack_covers_the_measured_one(kws_export: Path, board: str) -> None:
    exported = open_export(kws_export)
    made = inspect_object(kws_export, "kws", Target(board))
    inputs = {key: array[:1] for key, array in choose_inputs(exported, "", None).items()}
    verdict = verify(exported, inputs, Target(board))
    assert made.stack is not None
    assert verdict.stack_bytes is not None
    # What is measured includes the 16 bytes of the function that counts (firmware/measure.c).
    assert verdict.stack_bytes - 16 <= made.stack < verdict.stack_bytes + LIBRARY_STACK
    assert made.flash == verdict.flash_bytes
    constants = sum(s.bytes for s in made.symbols if s.kind == "r")
    assert constants >= exported.manifest["memory"]["weights"]
