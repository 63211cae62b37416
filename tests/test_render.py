"""Generated C: the same bytes for the same input, nothing of this machine, warnings as errors."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import jinja2
import numpy as np
import pytest

from mcu_export.pipeline import golden_of
from mcu_export.plan import plan
from mcu_export.program import Const, Statement
from mcu_export.render import environment, render, render_template
from mcu_export.resources import resource_dir
from mcu_export.views import LINE, array_rows, call_text, export_id
from tests.helpers import (
    after_passes,
    c_files,
    compile_errors,
    draw,
    program_of,
    quantized,
    run,
    toy,
    write_texts,
)

TEMPLATES = sorted(resource_dir("templates").rglob("*.j2"))


def test_templates_refuse_names_that_do_not_exist() -> None:
    assert environment().undefined is jinja2.StrictUndefined
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ nothing }}").render()
    with pytest.raises(jinja2.UndefinedError):
        render_template("model.h.j2", v=object())


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_templates_print_and_loop_only(path: Path) -> None:
    """No arithmetic, no tests of types: what they show is finished elsewhere."""
    tree = environment().parse(path.read_text())
    nodes = jinja2.nodes
    arithmetic = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
    forbidden = (*arithmetic, nodes.Test)
    found = [type(node).__name__ for node in tree.find_all(forbidden)]
    assert found == []


@pytest.mark.parametrize("scheme", ["q7", "q15"])
def test_the_same_input_gives_the_same_bytes(scheme: str) -> None:
    first, second = (c_files(quantized(after_passes(toy()), scheme)) for _ in range(2))
    assert first == second
    assert set(first) == {"net.c", "net.h", "net_weights.h", "net_test.h"}


def test_nothing_of_this_machine_or_of_now(tmp_path: Path) -> None:
    text = "\n".join(c_files(quantized(after_passes(toy()))).values())
    assert not re.search(r"\b20[2-9]\d[-/ ]|\b\d\d:\d\d\b", text)
    for folder in (Path.home(), Path.cwd(), tmp_path, Path("/tmp"), Path("/usr")):
        assert str(folder) not in text


@pytest.mark.parametrize(
    "compiler",
    [("gcc", "-std=c99"), ("clang", "-std=c99"), ("g++", "-x", "c++"), ("arm-none-eabi-gcc",)],
    ids=lambda c: c[0],
)
@pytest.mark.parametrize("scheme", ["q7", "q15"])
def test_it_compiles_without_a_warning(
    scheme: str, compiler: tuple[str, ...], tmp_path: Path
) -> None:
    write_texts(tmp_path, c_files(quantized(after_passes(toy()), scheme), labels=tuple("abcde")))
    assert compile_errors(tmp_path, "net", compiler) == ""


@pytest.mark.parametrize("stale", ["net.c", "net.h", "net_weights.h", "net_test.h"])
def test_files_of_different_exports_do_not_compile_together(stale: str, tmp_path: Path) -> None:
    graph = after_passes(toy())
    old = c_files(quantized(graph, calibration="minmax"))
    new = c_files(quantized(graph, calibration="mse"))
    assert old["net.c"] != new["net.c"]
    write_texts(tmp_path, {**new, stale: old[stale]})
    assert "are of different exports: run mcu-export again" in compile_errors(
        tmp_path, "net", ("gcc", "-std=c99")
    )


def test_the_weight_header_stands_alone(tmp_path: Path) -> None:
    """Hand-written firmware takes it without anything else."""
    quant = quantized(after_passes(toy()))
    text = c_files(quant)["net_weights.h"]
    for node in quant.nodes:
        for role in node.params:
            stored = re.search(rf"net_{_identifier(node.name)}_{role}\[(\d+)\] = \{{([^}}]*)", text)
            if stored:
                assert int(stored[1]) == len(re.findall(r"-?\d+", stored[2]))
        if hasattr(node.arithmetic, "bias_shift"):
            prefix = f"NET_{_identifier(node.name).upper()}"
            for name in ("BIAS_SHIFT", "OUT_SHIFT"):
                value = getattr(node.arithmetic, name.lower())
                assert re.search(rf"^#define {prefix}_{name} {value}\b", text, re.M)
    (tmp_path / "net_weights.h").write_text(text)
    (tmp_path / "use.c").write_text('#include "net_weights.h"\nint x = NET_FC_OUT_SHIFT;\n')
    done = run(["gcc", "-std=c99", "-Wall", "-c", "use.c", "-o", "use.o"], tmp_path)
    assert done.returncode == 0, done.stderr


def _identifier(name: str) -> str:
    return name.replace("/", "_")


def test_the_c_file_says_what_each_layer_does() -> None:
    program = program_of(quantized(after_passes(toy())))
    golden = golden_of(quantized(after_passes(toy())), draw(after_passes(toy()), 2), 2)
    text = render(program, plan(program), golden, "t").files["net.c"]
    comments = re.findall(r"^    /\* (.*?) \*/$", text[text.index("void net_run") :], re.S | re.M)
    shown = [comment for comment in comments if "\n" in comment]
    assert len(shown) == len(program.steps)
    for comment, step in zip(shown, program.steps, strict=True):
        assert comment.startswith(f"{step.comment}\n     * {step.kernel}")
        assert f"{step.facts['macs']:,} MACs" in comment or not step.facts["macs"]
        assert all(f"* {c.name}: {c.comment}" in comment for c in step.consts[:1])


def test_the_export_id_follows_every_part_of_the_program() -> None:
    program = program_of(quantized(after_passes(toy())))
    layout = plan(program)
    step = next(s for s in program.steps if s.consts)
    index = program.steps.index(step)

    def with_step(**changes: object) -> object:
        steps = list(program.steps)
        steps[index] = replace(step, **changes)
        return replace(program, steps=tuple(steps))

    const = step.consts[0]
    other = Const(const.name, const.ctype, const.values + 1, const.comment)
    changed = [
        replace(program, name="other"),
        replace(program, scheme="q15"),
        replace(program, labels=("a",)),
        replace(program, functions=program.functions[1:]),
        with_step(consts=(other, *step.consts[1:])),
        with_step(statements=(Statement("f", ("x",)),)),
        with_step(defines=()),
    ]
    ids = {export_id(one, layout) for one in (program, *changed)}
    assert len(ids) == len(changed) + 1
    assert export_id(program, replace(layout, lifetimes=())) not in ids
    assert all(re.fullmatch(r"0x[0-9a-f]{8}U", one) for one in ids)


def test_golden_data_is_that_of_the_reference() -> None:
    quant = quantized(after_passes(toy()))
    program = program_of(quant)
    golden = golden_of(quant, draw(quant.graph, 9), 3)
    text = render(program, plan(program), golden, "t").files["net_test.h"]
    arrays = {
        name: [int(v) for v in body.replace("\n", " ").split(",") if v.strip()]
        for name, body in re.findall(r"net_test_(\w+)\[\d+\] = \{([^}]*)\}", text)
    }
    assert arrays["input"] == golden.inputs["in"].ravel().tolist()
    assert arrays["output"] == golden.values["softmax"].ravel().tolist()
    for index, step in enumerate(program.steps):
        assert arrays[f"layer_{index}"] == golden.values[step.writes][0].ravel().tolist()


@pytest.mark.parametrize("values", [[], [0], [-128, 127, 3], list(range(-40, 40))])
def test_rows_of_numbers(values: list[int]) -> None:
    text = array_rows(np.array(values, np.int64))
    assert [int(v) for v in re.findall(r"-?\d+", text)] == values
    assert all(len(line) <= LINE for line in text.splitlines())


def test_long_calls_are_wrapped() -> None:
    arguments = tuple(f"argument_{i:02}" for i in range(20))
    text = call_text(Statement("function", arguments))
    assert all(len(line) <= LINE for line in text.splitlines())
    assert re.sub(r"\s+", " ", text) == f"function({', '.join(arguments)});"
    checked = call_text(Statement("function", ("a", "b"), "OK"))
    assert checked == "MCU_EXPORT_CHECK(function(a, b) == OK);"
