"""``export --templates``: the user's own templates in place of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcu_export.errors import UsageError
from tests.home.conftest import KWS, ROOT, Tool, export_kws


def override(folder: Path, name: str, *change: str) -> str:
    """A copy of our template ``name`` in ``folder``, with a text changed."""
    text = (ROOT / "templates" / name).read_text()
    assert change[0] in text
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text.replace(*change, 1))
    return str(folder)


def test_a_template_of_the_user_takes_the_place_of_ours(tmp_path: Path, kws_export: Path) -> None:
    own = override(
        tmp_path / "own", "model.h.j2", "#ifdef __cplusplus", "/* ours */\n#ifdef __cplusplus"
    )
    folder = export_kws(tmp_path / "out", templates=own)
    assert "/* ours */" in (folder / "kws.h").read_text()
    assert (folder / "kws.c").read_bytes() == (kws_export / "kws.c").read_bytes()
    again = export_kws(tmp_path / "again")
    assert "/* ours */" not in (again / "kws.h").read_text()


def test_templates_are_dependencies(tmp_path: Path, tool: Tool) -> None:
    own = override(tmp_path / "own", "model.h.j2", "Made by", "Made for us by")
    arguments = ("export", str(KWS / "kws.keras"), "-o", "x", "--depfile", "x.d")
    samples = ("--samples", f"{KWS}/calibration.npz:features[:4]", "--templates", own)
    samples += ("--calibration", "mse")
    done = tool(*arguments, *samples)
    assert done.returncode == 0, done.stderr
    assert "own/model.h.j2" in (tmp_path / "x.d").read_text()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a\n{{ v.nothing }}\n", 2, "nothing"),
        ("a\nb\n{% for %}\n", 3, "end of statement"),
        ("{{ 1 / 0 }}\n", 1, "division"),
        ("{{ 1 + 'x' }}\n", 1, "unsupported operand"),
    ],
)
def test_an_error_in_a_template_names_the_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    (tmp_path / "own").mkdir()
    path = tmp_path / "own/model.h.j2"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        export_kws(tmp_path / "out", templates=str(tmp_path / "own"))
    assert caught.value.where == f"{path}:{line}"
    assert says in caught.value.what
    assert not (tmp_path / "out").exists()


def test_a_template_that_overrides_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no templates"):
        export_kws(tmp_path / "out", templates=str(tmp_path))
    (tmp_path / "modle.h.j2").write_text("")
    with pytest.raises(UsageError, match=r"modle\.h\.j2"):
        export_kws(tmp_path / "out", templates=str(tmp_path))
