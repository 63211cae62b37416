"""Stage 7: program and layout become the text of files. The only importer of jinja2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mcu_export.program import Layout, Program
from mcu_export.resources import resource_dir
from mcu_export.views import Golden, model_view, test_view


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


def render_template(name: str, **values: Any) -> str:
    """One template with its values."""
    return environment().get_template(name).render(**values)


def render(program: Program, layout: Layout, golden: Golden, title: str) -> Rendered:
    """The C files of an export.

    Args:
        program: what to call.
        layout: where everything lies.
        golden: data for the self-test.
        title: one line on the model, for the head of each file.
    """
    functions = [render_template(f.template, function=f) for f in program.functions]
    model = model_view(program, layout, functions, title)
    test = test_view(model, program, golden)
    files = {
        f"{program.name}_weights.h": render_template("weights.h.j2", v=model),
        f"{program.name}.h": render_template("model.h.j2", v=model),
        f"{program.name}.c": render_template("model.c.j2", v=model),
        f"{program.name}_test.h": render_template("test.h.j2", v=test),
    }
    return Rendered(files, model.export_id)
