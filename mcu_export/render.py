"""Stage 7: program and layout become the text of files. The only importer of jinja2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mcu_export.program import Layout, Program
from mcu_export.resources import resource_dir
from mcu_export.views import Golden, model_view, test_view

# Name of a helper, its template, and whether it reads coded weights (see plain_c/packing.py).
HELPERS = (
    ("saturate", "saturate", False),
    ("saturate8", "saturate8", False),
    ("relu8", "relu8", False),
    ("clamp8", "clamp8", False),
    ("d?word", "words", False),
    ("load4", "load4", False),
    ("order", "order", False),
    ("pair", "pair", False),
    ("row3", "rows3", False),
    ("tile", "tile", False),
    ("column", "column", False),
    ("zeros", "zeros", False),
    ("expand", "expand", False),
    ("expand4", "expand4", False),
    ("border", "border", False),
    ("border4", "border4", False),
    ("excess", "excess", False),
    ("input_excess", "input_excess", False),
    ("load16", "weights", False),
    ("dot1", "dot1", False),
    ("dot2", "dot2", False),
    ("quad", "quad", False),
    ("dot_input", "dot_input", False),
    ("load16_coded", "weights", True),
    ("dot1_coded", "dot1", True),
    ("dot2_coded", "dot2", True),
    ("quad_coded", "quad", True),
    ("dot_input_coded", "dot_input", True),
)


@dataclass(frozen=True)
class Rendered:
    """The C files of an export, by file name, and the number that ties them together."""

    files: dict[str, str]
    export_id: str


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Jinja2 that refuses undefined names and leaves no blank lines behind."""
    return Environment(
        loader=FileSystemLoader(resource_dir("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C, not HTML; names.py makes texts safe
    )


def render_template(template: str, **values: Any) -> str:
    """One template, by its path below templates, with its values."""
    return environment().get_template(template).render(**values)


def used_helpers(name: str, functions: Sequence[str]) -> list[str]:
    """The helpers of plain-c that the functions call, and those that these call, in order.

    A helper is called by ``NAME_helper``; who calls another stands after it in :data:`HELPERS`.
    """
    texts = list(functions)
    chosen: list[str] = []
    for helper, template, coded in reversed(HELPERS):
        wanted = re.compile(rf"\b{name}_{helper}\b")
        if any(wanted.search(text) for text in texts):
            made = render_template(
                f"plain_c/helpers/{template}.c.j2",
                name=name,
                upper=name.upper(),
                coded=coded,
                suffix="_coded" if coded else "",
            )
            texts.append(made)
            chosen.append(made)
    if any("__ARM_FEATURE" in text or f"{name.upper()}_" in text for text in texts):
        core = render_template("plain_c/helpers/core.c.j2", name=name, upper=name.upper())
        chosen.append(core)
    return chosen[::-1]


def render(program: Program, layout: Layout, golden: Golden, title: str) -> Rendered:
    """The C files of an export.

    Args:
        program: what to call.
        layout: where everything lies.
        golden: data for the self-test.
        title: one line on the model, for the head of each file.
    """
    functions = [render_template(f.template, function=f) for f in program.functions]
    helpers = used_helpers(program.name, functions)
    model = model_view(program, layout, helpers, functions, title)
    test = test_view(model, program, golden)
    files = {
        f"{program.name}_weights.h": render_template("weights.h.j2", v=model),
        f"{program.name}.h": render_template("model.h.j2", v=model),
        f"{program.name}.c": render_template("model.c.j2", v=model),
        f"{program.name}_test.h": render_template("test.h.j2", v=test),
    }
    return Rendered(files, model.export_id)
