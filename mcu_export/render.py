"""Stage 7: program and layout become the text of files. The only importer of jinja2."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from mcu_export.emit import emitted
from mcu_export.errors import UsageError
from mcu_export.program import Layout, Program
from mcu_export.resources import resource_dir
from mcu_export.self_test import Golden, test_view
from mcu_export.views import model_view

CODED = "_coded"
# Those of plain-c, who calls another after it; `_coded` ones read coded weights (see
# plain_c/packing.py), by the same template.
HELPERS = (
    "saturate",
    "saturate8",
    "relu8",
    "clamp8",
    "saturate16",
    "relu16",
    "clamp16",
    "high",
    "scale8",
    "scale8_signed",
    "lanes",
    "lanes_each",
    "lanes_signed",
    "lanes_signed_each",
    "words4",
    "bytes4",
    "d?word",
    "load4",
    "largest4",
    "(even|odd)",
    "load2",
    "order4",
    "order1",
    "order4_nibbles",
    "order1_nibbles",
    "pair",
    "row3",
    "tile",
    "column",
    "sums",
    "fill",
    "fill_plane",
    "expand",
    "expand4",
    "border",
    "border4",
    "excess",
    "input_excess",
    "order16",
    "sums4",
    "row8",
    "row16",
    "taps8",
    "taps16",
    "multiply1",
    "multiply2",
    "multiply4",
    "patch",
    "take",
    "square_inputs",
    "products8",
    "square_outputs",
    "two8",
    "two16",
    "four8",
    "four16",
    "load16",
    "sums2",
    "sums_input",
    "words1",
    "dot1",
    "dot2",
    "quad",
    "dot_input",
    "load16_coded",
    "sums2_coded",
    "sums_input_coded",
    "words1_coded",
    "dot1_coded",
    "dot2_coded",
    "quad_coded",
    "dot_input_coded",
    "(nibbles|halves2|halves16|half_even|half_odd)",
    "sums2_nibbles",
    "sums_input_nibbles",
    "dot1_nibbles",
    "dot2_nibbles",
    "dot_input_nibbles",
)
# Where a template has another name than its helper.
HELPER_TEMPLATES = {
    "d?word": "words",
    "(even|odd)": "unpack",
    "row3": "rows3",
    "(nibbles|halves2|halves16|half_even|half_odd)": "nibbles",
    "take": "transform",
    "load16": "weights",
}


@dataclass(frozen=True)
class Rendered:
    """The C files of an export, by file name, and the number that ties them together."""

    files: dict[str, str]
    export_id: str


Write = Callable[..., str]


@lru_cache(maxsize=4)
def environment(own: str = "") -> Environment:
    """Jinja2 that refuses undefined names and leaves no blank lines behind.

    Templates of the folder ``own``, if there is one, come before ours.
    """
    ours = resource_dir("templates")
    return Environment(
        loader=FileSystemLoader([own, ours] if own else ours),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # C is made safe by names.py, HTML here.
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
    )


def render_template(template: str, **values: Any) -> str:
    """One template, by its path below templates, with its values."""
    return environment().get_template(template).render(**values)


def own_templates(folder: str) -> list[Path]:
    """The user's templates in ``folder``, each in place of one of ours; none without a folder.

    Raises:
        UsageError: the folder holds none, or one that takes the place of nothing.
    """
    if not folder:
        return []
    root, ours = Path(folder), resource_dir("templates")
    found = sorted(path for path in root.rglob("*.j2") if path.is_file())
    strange = [path for path in found if not (ours / path.relative_to(root)).is_file()]
    if strange or not found:
        raise UsageError(
            f"we have no template {strange[0].relative_to(root)}"
            if strange
            else "there are no templates (*.j2)",
            where=f"--templates {folder}",
            fix=f"copy the one to change, with its folders, from {ours}",
        )
    return found


def render_own(own: str, template: str, **values: Any) -> str:
    """:func:`render_template`, with templates of the user's in the folder ``own`` before ours.

    Raises:
        UsageError: a template of the user's is wrong; names the file and the line.
    """
    if not own:
        return render_template(template, **values)
    try:
        return environment(own).get_template(template).render(**values)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        place, trace = "", error.__traceback__
        while trace:
            file = trace.tb_frame.f_code.co_filename
            place = f"{file}:{trace.tb_lineno}" if file.endswith(".j2") else place
            trace = trace.tb_next
        # A syntax error knows its place; any other has it in the traceback.
        syntax = (getattr(error, "filename", None), getattr(error, "lineno", None))
        raise UsageError(
            f"the template cannot be used: {error}",
            where=f"{syntax[0]}:{syntax[1]}" if all(syntax) else place or template,
            fix="compare it with ours; a new version of mcu-export may give it other values",
        ) from error


def used_helpers(name: str, functions: Sequence[str], write: Write = render_template) -> list[str]:
    """The helpers of plain-c that the functions call, and those that these call, in order.

    A helper is called by ``NAME_helper``; who calls another stands after it in :data:`HELPERS`.
    """
    texts = list(functions)
    chosen: list[str] = []
    for helper in reversed(HELPERS):
        wanted = re.compile(rf"\b{name}_{helper}\b")
        if any(wanted.search(text) for text in texts):
            kind = helper.removesuffix(CODED)
            coded = helper.endswith(CODED)
            made = write(
                f"plain_c/helpers/{HELPER_TEMPLATES.get(kind, kind)}.c.j2",
                name=name,
                upper=name.upper(),
                coded=coded,
                suffix=CODED if coded else "",
            )
            texts.append(made)
            chosen.append(made)
    if any("__ARM_FEATURE" in text or f"{name.upper()}_" in text for text in texts):
        core = write("plain_c/helpers/core.c.j2", name=name, upper=name.upper())
        chosen.append(core)
    return chosen[::-1]


def render(
    program: Program,
    layout: Layout,
    golden: Golden,
    title: str,
    templates: str = "",
    emit: Sequence[str] = (),
) -> Rendered:
    """The C files of an export.

    Args:
        program: what to call.
        layout: where everything lies.
        golden: data for the self-test.
        title: one line on the model, for the head of each file.
        templates: folder of the user's own templates, or empty.
        emit: files for other builds, of :data:`mcu_export.emit.EMITS`.

    Raises:
        UsageError: a template of the user's, or something in ``emit``, is wrong.
    """
    own_templates(templates)
    write = partial(render_own, templates)
    functions = [write(f.template, function=f) for f in program.functions]
    helpers = used_helpers(program.name, functions, write)
    model = model_view(program, layout, helpers, functions, title)
    test = test_view(model, program, golden)
    files = {
        f"{program.name}_weights.h": write("weights.h.j2", v=model),
        f"{program.name}.h": write("model.h.j2", v=model),
        f"{program.name}.c": write("model.c.j2", v=model),
        f"{program.name}_test.h": write("test.h.j2", v=test),
    }
    for file, template in emitted(emit, program.name).items():
        files[file] = write(template, v=model)
    return Rendered(files, model.export_id)
