"""Whatever layers, files and labels are called, the C compiles and says what it should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcu_export.errors import UsageError
from mcu_export.graph import Graph
from mcu_export.names import (
    C_KEYWORDS,
    IDENTIFIER,
    MAX_IDENTIFIER,
    MAX_STRING,
    check_model_name,
    comment_text,
    identifiers,
    model_name_from,
    network_names,
    string_literal,
)
from mcu_export.ops import RELU, Add, Clamp, Conv2D, Dense, MaxPool2D, Reshape, Softmax
from tests.helpers import (
    GraphBuilder,
    c_files,
    compile_errors,
    quantized,
    rng,
    run,
    weights,
    write_texts,
)

GCC = ("gcc", "-std=c99")
GXX = ("g++", "-x", "c++", "-std=c++11")
CLANG = ("clang", "-std=c99")
COMPILERS = (GCC, GXX, CLANG)

HOSTILE = (
    'quote"quote',
    "it's",
    "back\\slash\\",
    "slash/slash//",
    "/* open",
    "close */ int x = 1; /*",
    "*/",
    "/",
    "*//*",
    "line\nbreak",
    "splice\\\nnext",
    "carriage\r\nreturn",
    "tri??/graph",
    "tri??/",
    "what???!",
    "\\",
    "Übung/Größe",
    "卷积层",
    "\N{SLIGHTLY SMILING FACE}",
    "\ud800 lone surrogate",
    "nul\0byte",
    "\x1b[31mred",
    "\x7f\x80\xff",
    "%s%n",
    "{{ v.name }}",
    "{% raw %}",
    '"; system("x"); "',
    "#error no",
    "#include <x>",
    "int",
    "class",
    "2/conv",
    "1x1",
    "",
    " ",
    "_",
    "__",
    "a b",
    "A B",
    "a_b",
    "a" * 300,
    "a" * 301,
    "x" * 5000,
    "memcpy",
    "arena",
    "net",
    "run",
    "input",
    "output",
    "conv2d_1",
    "weights",
    "NULL",
    "\u2028\u2029",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil",
)


def hostile_network(names: tuple[str, ...] = HOSTILE) -> Graph:
    """A chain with a layer for each name, of kinds in turn."""
    r = rng()
    b = GraphBuilder("f")
    value = b.input('in */ "put\\', (3, 3, 2))
    for index, name in enumerate(names):
        kinds = (Conv2D(), Clamp(RELU), Add(), MaxPool2D((1, 1), (1, 1)))
        op = kinds[index % len(kinds)]
        params = weights(r, (2, 1, 1, 2), 2) if isinstance(op, Conv2D) else {}
        value = b.add(name, op, [value] * (2 if isinstance(op, Add) else 1), params)
    flat = b.add("flat\\", Reshape((18,)), [value])
    return b.finish([value, b.add('so"ft*/max\n', Softmax(), [flat])], {})


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda c: c[0])
@pytest.mark.parametrize("scheme", ["q7", "q15"])
def test_hostile_names_compile_everywhere(
    scheme: str, compiler: tuple[str, ...], tmp_path: Path
) -> None:
    title = 'model */ "x" ??/.keras\\'
    labels = HOSTILE[:18]
    files = c_files(quantized(hostile_network(), scheme), labels=labels, title=title)
    write_texts(tmp_path, files)
    for text in files.values():
        assert text.isascii()
    assert compile_errors(tmp_path, "net", compiler) == ""


@pytest.mark.parametrize("title", ["end??/", "end\\", "end\\ ", "end\n", "*/", "é?/"])
@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda c: c[0])
def test_titles_at_the_end_of_a_comment_line(
    title: str, compiler: tuple[str, ...], tmp_path: Path
) -> None:
    b = GraphBuilder("f")
    graph = b.finish([b.add("r", Clamp(RELU), [b.input("x", (2,))])], {})
    write_texts(tmp_path, c_files(quantized(graph), title=title))
    assert compile_errors(tmp_path, "net", compiler) == ""


def test_strings_arrive_as_they_are(tmp_path: Path) -> None:
    """Labels, printed by the compiled program, are the bytes of the original."""
    texts = [text for text in HOSTILE if "\0" not in text and "\ud800" not in text]
    literals = ",\n".join(string_literal(text) for text in texts)
    source = tmp_path / "print.c"
    source.write_text(
        "#include <stdio.h>\nstatic const char *const texts[] = {" + literals + "};\n"
        "int main(void) { for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {"
        ' printf("%s%c", texts[i], 1); } return 0; }\n'
    )
    assert run([*GCC, "-trigraphs", source, "-o", tmp_path / "print"]).stderr == ""
    said = subprocess.run([tmp_path / "print"], capture_output=True, check=True).stdout
    got = [part.decode() for part in said.split(b"\1")[:-1]]
    assert got == [text[:MAX_STRING] for text in texts]


@given(st.lists(st.text(max_size=20), unique=True, max_size=20))
def test_identifiers_are_valid_and_unique(names: list[str]) -> None:
    made = identifiers(names)
    assert list(made) == names
    assert len(set(made.values())) == len(names)
    for identifier in made.values():
        assert IDENTIFIER.fullmatch("x" + identifier)
        assert IDENTIFIER.fullmatch(identifier + "_out"), identifier
        assert identifier == identifier.lower()


@given(st.text())
def test_comments_end_where_they_should(text: str) -> None:
    safe = comment_text(text)
    assert "*/" not in safe
    assert "/*" not in safe
    assert "??/" not in safe
    assert not safe.endswith("\\")
    assert safe.isascii() and (safe.isprintable() or not safe)
    assert comment_text(safe) == safe


@given(st.text())
def test_string_literals_stay_on_their_line(text: str) -> None:
    literal = string_literal(text)
    assert literal[0] == literal[-1] == '"'
    assert literal.isascii() and literal.isprintable()
    assert "??" not in literal


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda c: c[0])
def test_ports_and_layers_never_share_a_name(compiler: tuple[str, ...], tmp_path: Path) -> None:
    """Input x_in beside layer input_x, output y_bias beside layers output_y and test_output_y."""
    r = rng()
    b = GraphBuilder("f")
    values = [b.input(name, (5,)) for name in ("x_in", "x_weights", "z")]
    for name in ("input_x", "test_input_x", "output_y", "test_output_y", "y_bias"):
        value = b.add(name, Dense(), values[:1], weights(r, (5, 5), 5))
        values.append(b.add(f"sum {name}", Add(), [value, values[-1]]))
    files = c_files(quantized(b.finish(["y_bias", values[-1]], {})))
    write_texts(tmp_path, files)
    assert compile_errors(tmp_path, "net", compiler) == ""


def test_only_layers_that_clash_are_renamed() -> None:
    names = network_names(["x_in", "y", "input_x", "input_y", "out"], ["x_in", "y"], ["out"])
    assert names.inputs == ("input_x_in", "input_y")
    assert names.outputs == ("output",)
    assert names.values["input_x"] == "layer_input_x"
    assert [names.values[n] for n in ("x_in", "input_y", "out")] == ["x_in", "input_y", "out"]


SCOPES = [
    (["net/conv/1", "net/conv/2"], ["conv_1", "conv_2"]),
    (["net/a", "other/a"], ["net_a", "other_a"]),
    (["net/a", "a"], ["net_a", "a"]),
    (["net/a", "net/b", "c"], ["a", "b", "c"]),
    (["ConvBlock", "conv_block"], ["conv_block", "conv_block_2"]),
    (["a", "A", "a_2"], ["a", "a_2", "a_2_2"]),
    (["日本"], ["layer"]),
    (["1x1", "2/b"], ["layer_1x1", "layer_2_b"]),
]


@pytest.mark.parametrize("names, expected", SCOPES)
def test_identifiers_table(names: list[str], expected: list[str]) -> None:
    assert list(identifiers(names).values()) == expected


@pytest.mark.parametrize(
    "stem, name",
    [
        ("DS_CNN_S", "ds_cnn_s"),
        ("pretrainedResnet", "pretrained_resnet"),
        ("my-net v2", "my_net_v2"),
        ("3layers", "model_3layers"),
        ("Größe", "gr_e"),
        ("", "model"),
        ("日本", "model"),
        ("int", "model"),
        ("class", "model"),
        ("string", "model"),
        ("stdint", "model"),
        ("mcu_export", "model"),
        ("port", "model"),
    ],
)
def test_names_of_models(stem: str, name: str) -> None:
    assert model_name_from(stem) == name
    assert check_model_name(name) == name


@given(st.text())
def test_every_stem_gives_a_usable_name(stem: str) -> None:
    assert check_model_name(model_name_from(stem))


@pytest.mark.parametrize(
    "name",
    ["", "a b", "1a", "_a", "a-b", "größe", "int", "Int", "new", "x" * 49, "a\n", "string"],
)
def test_names_that_c_cannot_use(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be") as caught:
        check_model_name(name)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["stdint", "math", "mcu_export", "port", "measure"])
def test_names_of_other_headers(name: str) -> None:
    with pytest.raises(UsageError):
        check_model_name(name)


def test_keywords_are_lower_case_and_short() -> None:
    assert {word.lower() for word in C_KEYWORDS} == C_KEYWORDS
    assert max(map(len, C_KEYWORDS)) < MAX_IDENTIFIER


@pytest.mark.parametrize("name", ["kws", "Kws", "a", "x" * 48, "time", "test", "model"])
def test_model_names_that_compile(name: str, tmp_path: Path) -> None:
    r = rng()
    b = GraphBuilder("f")
    x = b.input("x", (3,))
    graph = b.finish([b.add("fc", Dense(), [x], weights(r, (2, 3), 2))], {})
    write_texts(tmp_path, c_files(quantized(graph), name))
    assert compile_errors(tmp_path, name, GCC) == ""
    assert compile_errors(tmp_path, name, GXX) == ""
