"""What a compiler makes of an export: bytes of every function and constant, and stack depth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcu_export.build import Target, compiled

# What a function of the C library (memcpy, memset) may take; newlib's take up to 32 bytes.
LIBRARY_STACK = 64
NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', re.M)
EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.M)
FRAME = re.compile(r"(\d+) bytes \((static|dynamic,bounded)\)")


@dataclass(frozen=True)
class Symbol:
    """A function, a constant or a variable of the object file; ``kind`` is what nm says."""

    name: str
    kind: str
    bytes: int


@dataclass(frozen=True)
class ObjectFile:
    """The compiled model.

    Attributes:
        flash: bytes of code and constants.
        ram: bytes of variables.
        symbols: the largest first.
        stack: bytes below the caller of ``NAME_run``, from the frames that the compiler reports;
            None if a frame has no bound.
        stack_path: the functions of the deepest path.
    """

    flash: int
    ram: int
    symbols: tuple[Symbol, ...]
    stack: int | None
    stack_path: tuple[str, ...]

    def largest(self, kinds: str, count: int = 3) -> str:
        """The largest symbols of some kinds, as a text."""
        chosen = [s for s in self.symbols if s.kind.lower() in kinds][:count]
        return ", ".join(f"{s.name} {s.bytes:,}" for s in chosen)


def inspect_object(export: Path, name: str, target: Target) -> ObjectFile:
    """Compile the model ``name`` in the folder ``export`` and look at its object file.

    Raises:
        ToolchainError: it does not compile, or gcc is missing.
    """
    extra = ("-fcallgraph-info=su",)
    with compiled(export, name, target, extra) as (made, tool):
        text, data, bss = tool("size", str(made)).splitlines()[1].split()[:3]
        listing = tool("nm", "--print-size", "--size-sort", "--radix=d", str(made))
        calls = next(made.parent.glob("*.ci")).read_text()
    stack, path = deepest(calls, f"{name}_run")
    return ObjectFile(int(text) + int(data), int(data) + int(bss), _symbols(listing), stack, path)


def _symbols(listing: str) -> tuple[Symbol, ...]:
    rows = [line.split() for line in listing.splitlines()]
    found = [Symbol(row[3], row[2], int(row[1])) for row in rows if len(row) == 4]
    return tuple(sorted(found, key=lambda symbol: (-symbol.bytes, symbol.name)))


def deepest(calls: str, start: str) -> tuple[int | None, tuple[str, ...]]:
    """Deepest stack below ``start`` and its path, from gcc's ``-fcallgraph-info=su``.

    None where a frame is not bounded, a call goes through a pointer, or calls are recursive.
    """
    labels = dict(NODE.findall(calls))
    callees: dict[str, list[str]] = {}
    for source, target in EDGE.findall(calls):
        callees.setdefault(source, []).append(target)
    return _deepest(start, labels, callees, ())


def _deepest(
    title: str,
    labels: Mapping[str, str],
    callees: Mapping[str, list[str]],
    above: tuple[str, ...],
) -> tuple[int | None, tuple[str, ...]]:
    if title in above or title == "__indirect_call":
        return None, (title,)
    frame = FRAME.search(labels.get(title, ""))
    if not frame and "bytes" in labels.get(title, ""):
        return None, (title,)
    own = int(frame[1]) if frame else LIBRARY_STACK
    deepest_below, path = 0, ()  # type: tuple[int, tuple[str, ...]]
    for callee in callees.get(title, ()):
        below, way = _deepest(callee, labels, callees, (*above, title))
        if below is None:
            return None, (title.rsplit(":", maxsplit=1)[-1], *way)
        if below > deepest_below:
            deepest_below, path = below, way
    return own + deepest_below, (title.rsplit(":", maxsplit=1)[-1], *path)
