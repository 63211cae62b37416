"""Names and texts from a model file, made safe for C.

Whatever a layer is called, identifiers are valid and unique and nothing ends a comment or a
string early.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcu_export.errors import UsageError

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MAX_IDENTIFIER = 48
MAX_STRING = 4000

_WORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit
    export extern false float for friend goto if inline int long mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public register reinterpret_cast restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unsigned using virtual void volatile
    wchar_t while xor xor_eq main linux unix
"""
C_KEYWORDS = frozenset(_WORDS.split())

# A model called `string` would write string.h, and <string.h> would find that one. The last line:
# names of the firmware and of the generated code itself.
_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg
    stdatomic stdbool stddef stdint stdio stdlib string tgmath threads time uchar wchar wctype
    features alloca malloc memory strings sched unistd fcntl poll dlfcn
    linker measure port systick mcu_export
"""
# What the names of a layer's constants and macros begin with, after its identifier.
_SUFFIXES = """
    alpha axis bias exp in multipliers operand out reciprocal shifts sums table weight weights
"""
LAYER_WORDS = frozenset(_SUFFIXES.split())
RESERVED = C_KEYWORDS | frozenset(_HEADERS.split())


def check_model_name(name: str) -> str:
    """The name itself, if C can use it as a prefix and as the name of a header.

    Raises:
        UsageError: it is no C identifier, a keyword, or the name of another header.
    """
    if not IDENTIFIER.fullmatch(name) or name.lower() in RESERVED or len(name) > MAX_IDENTIFIER:
        raise UsageError(
            f"the name {name!r} cannot be that of a C model",
            where="--name",
            fix="use letters, digits and underscores, a letter first; no keyword, no standard "
            f"header, at most {MAX_IDENTIFIER} characters",
        )
    return name


def model_name_from(stem: str) -> str:
    """A C name for a model file called ``stem``; ``model`` where nothing usable is left."""
    name = _lettered(_clean(stem), "model")
    return "model" if name in RESERVED else name


def _clean(text: str) -> str:
    """Lower case, everything but letters and digits replaced by single underscores."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text) if not re.search(r"[_\W]", text) else text
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")[:MAX_IDENTIFIER].strip("_")


def _lettered(cleaned: str, word: str) -> str:
    """``cleaned`` with ``word`` before it where it has no letter to start with."""
    if cleaned[:1].isalpha():
        return cleaned
    return f"{word}_{cleaned}"[:MAX_IDENTIFIER].rstrip("_")


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """For each name of a layer a C identifier, unique among them.

    A path component that all names share (the scope of the whole network) is left out.
    """
    listed = list(names)
    paths = {name: name.split("/") for name in listed}
    scoped = [path for path in paths.values() if len(path) > 1]
    if len(scoped) > 1 and len({path[0] for path in scoped}) == 1:
        paths = {name: path[1:] if len(path) > 1 else path for name, path in paths.items()}
    taken: set[str] = set()
    made = {}
    for name in listed:
        wanted = _lettered(_clean("/".join(paths[name])), "layer")
        made[name] = _unique(wanted, taken)
        taken.add(made[name])
    return made


def _unique(wanted: str, taken: Collection[str]) -> str:
    unique, count = wanted, 1
    while unique in taken:
        count += 1
        unique = f"{wanted}_{count}"
    return unique


@dataclass(frozen=True)
class Names:
    """C identifiers of a network without the model's name: of each value, of inputs and outputs."""

    values: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def network_names(values: Iterable[str], inputs: Sequence[str], outputs: Sequence[str]) -> Names:
    """Names for all values of a network (inputs and layers), given those that are ports.

    Of several inputs each is called ``input_NAME``: a layer whose constants or macros could be
    called the same is named ``layer_...`` instead.
    """
    known = identifiers(values)
    while True:
        names = Names(known, _ports("input", inputs, known), _ports("output", outputs, known))
        ports = [name for port in names.inputs + names.outputs for name in (port, f"test_{port}")]
        clashing = [
            value
            for value, identifier in known.items()
            if value not in inputs and any(_may_clash(identifier, port) for port in ports)
        ]
        if not clashing:
            return names
        other = _unique(f"layer_{known[clashing[0]]}", set(known.values()))
        known = {**known, clashing[0]: other}


def _may_clash(identifier: str, port: str) -> bool:
    """Whether a name made from a layer's identifier can be that of a port, or of its macros."""
    rest = port.removeprefix(f"{identifier}_")
    return rest != port and rest.split("_")[0] in LAYER_WORDS


def _ports(role: str, ports: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    return (role,) if len(ports) == 1 else tuple(f"{role}_{known[port]}" for port in ports)


def comment_text(text: str) -> str:
    """``text`` as it may stand in a C comment: printable ASCII that does not end the comment.

    Trigraphs are taken apart: at the end of a line, one of them would continue the comment.
    """
    plain = "".join(ch if " " <= ch <= "~" else "?" for ch in text)
    plain = re.sub(r"\?(?=\?)", "? ", plain)
    return plain.replace("*/", "* /").replace("/*", "/ *").rstrip("\\")


def string_literal(text: str) -> str:
    """``text`` as a C string literal, quotes included; bytes beyond ASCII as octal escapes.

    At most ``MAX_STRING`` bytes: C99 asks no compiler to take more than 4095.
    """
    out = []
    for byte in text.encode("utf-8", "replace")[:MAX_STRING]:
        char = chr(byte)
        if char in '"\\?':
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'
