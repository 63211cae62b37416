"""Where a key stands in a TOML text; the standard parser does not tell."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def line_of(text: str, path: Sequence[str]) -> int:
    """Line of the key ``path`` (or of the nearest table above it) in a valid TOML text, from 1.

    A statement begins at the first line before which the text parses without the key and after
    which, once the statement is complete, it parses with it.
    """
    lines = text.splitlines(keepends=True)
    for depth in range(len(path), 0, -1):
        for index, line in enumerate(lines):
            if path[depth - 1] in line and _begins(lines, index, path[:depth]):
                return index + 1
    return 1


def _begins(lines: Sequence[str], index: int, path: Sequence[str]) -> bool:
    before = _parse(lines[:index])
    if before is None or _holds(before, path):
        return False
    for end in range(index + 1, len(lines) + 1):
        after = _parse(lines[:end])
        if after is not None:
            return _holds(after, path)
    return False


def _parse(lines: Sequence[str]) -> Mapping[str, Any] | None:
    try:
        return tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def _holds(content: Mapping[str, Any], path: Sequence[str]) -> bool:
    current: Any = content
    for key in path:
        if not isinstance(current, dict) or key not in current:
            return False
        current = current[key]
    return True
