"""Names and texts from a model file, made safe for C.

Whatever a layer is called, identifiers are valid and unique and nothing ends a comment or a
string early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mcu_export.errors import UsageError

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MAX_IDENTIFIER = 48

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


def check_model_name(name: str) -> str:
    """The name itself, if C can use it as a prefix.

    Raises:
        UsageError: it is no C identifier, or a keyword.
    """
    if not IDENTIFIER.fullmatch(name) or name.lower() in C_KEYWORDS or len(name) > MAX_IDENTIFIER:
        raise UsageError(
            f"the name {name!r} cannot be a C identifier",
            where="--name",
            fix="use letters, digits and underscores, a letter first, no C keyword",
        )
    return name


def model_name_from(stem: str) -> str:
    """A C name for a model file called ``stem``; ``model`` where nothing usable is left."""
    name = _clean(stem)
    if not name or name in C_KEYWORDS:
        return "model"
    return name if name[0].isalpha() else f"model_{name}"


def _clean(text: str) -> str:
    """Lower case, everything but letters and digits replaced by single underscores."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text) if not re.search(r"[_\W]", text) else text
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")[:MAX_IDENTIFIER].strip("_")


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
        wanted = _clean("/".join(paths[name]))
        if not wanted[:1].isalpha():
            wanted = f"layer_{wanted}" if wanted else "layer"
        unique, count = wanted, 1
        while unique in taken:
            count += 1
            unique = f"{wanted}_{count}"
        taken.add(unique)
        made[name] = unique
    return made


def comment_text(text: str) -> str:
    """``text`` as it may stand in a C comment: printable ASCII that does not end the comment."""
    plain = "".join(ch if " " <= ch <= "~" else "?" for ch in text)
    return plain.replace("*/", "* /").replace("/*", "/ *").rstrip("\\")


def string_literal(text: str) -> str:
    """``text`` as a C string literal, quotes included; bytes beyond ASCII as octal escapes."""
    out = []
    for byte in text.encode("utf-8", "replace"):
        char = chr(byte)
        if char in '"\\?':
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'
