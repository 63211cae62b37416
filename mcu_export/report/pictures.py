"""Coordinates of the report's pictures: networks, histograms, the arena over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcu_export.report.statistics import BINS, Distribution

BOX_WIDTH, BOX_HEIGHT, ROW_HEIGHT, COLUMN_WIDTH = 208, 38, 58, 224
BOW = 130  # how far an edge that passes other rows swings out
CHART_WIDTH, CHART_HEIGHT = 240, 84
ARENA_HEIGHT, ARENA_LEFT, STEP_WIDTH = 320, 70, 46
TEXT_LIMIT, NARROW_TEXT = 27, 6


@dataclass(frozen=True)
class Box:
    """A node of a network: place, two lines of text, the full text, a style."""

    x: int
    y: int
    name: str
    line: str
    title: str
    style: str


@dataclass(frozen=True)
class Picture:
    """A picture of boxes and paths with its size."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A rectangle, in pixels; ``style`` is its class."""

    x: float
    y: float
    width: float
    height: float
    title: str
    style: str
    label: str = ""


@dataclass(frozen=True)
class Chart:
    """Bars, the span of the format's range, texts for both ends of the axis."""

    bars: tuple[Bar, ...]
    range_x: float
    range_width: float
    low: str
    high: str
    summary: str


@dataclass(frozen=True)
class ArenaPicture:
    """The arena over time: a rectangle per buffer, a row of step numbers, a scale of bytes."""

    width: int
    height: int
    bars: tuple[Bar, ...]
    steps: tuple[tuple[int, str], ...]
    scale: tuple[tuple[float, str], ...]


def short(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, its middle left out where it is long."""
    if len(text) <= limit:
        return text
    return text[: limit // 2] + "\u2026" + text[len(text) - (limit - limit // 2 - 1) :]


def network_picture(
    inputs: Sequence[str],
    layers: Sequence[Mapping[str, Any]],
    formats: Mapping[str, str],
    gone: Sequence[str] = (),
) -> Picture:
    """A network from top to bottom, a row per depth.

    Args:
        inputs: names of the graph's inputs.
        layers: dicts with ``name``, ``op``, ``inputs``, ``shape`` in topological order.
        formats: text of the format of each value, where there is one.
        gone: names of layers that a pass removes.
    """
    rank = dict.fromkeys(inputs, 0)
    rows: dict[int, list[str]] = {0: list(inputs)}
    for layer in layers:
        depth = 1 + max((rank.get(name, 0) for name in layer["inputs"]), default=0)
        rank[layer["name"]] = depth
        rows.setdefault(depth, []).append(layer["name"])
    columns = max(len(row) for row in rows.values())
    width = columns * COLUMN_WIDTH + 2 * BOW // 3
    place = {}
    for depth, row in rows.items():
        for index, name in enumerate(row):
            x = int((index + 0.5) * columns * COLUMN_WIDTH / len(row))
            place[name] = (x, depth * ROW_HEIGHT + 4)
    known = {layer["name"]: layer for layer in layers}
    boxes = tuple(_box(n, place[n], known.get(n), formats.get(n, ""), n in gone) for n in place)
    paths = tuple(
        _edge(place[source], place[layer["name"]])
        for layer in layers
        for source in layer["inputs"]
        if source in place
    )
    return Picture(width, len(rows) * ROW_HEIGHT, boxes, paths)


def _box(
    name: str, place: tuple[int, int], layer: Mapping[str, Any] | None, fmt: str, gone: bool
) -> Box:
    shape = "x".join(map(str, layer["shape"])) if layer else ""
    line = " ".join(filter(None, (layer["op"] if layer else "input", shape, fmt)))
    reads = f", reads {', '.join(layer['inputs'])}" if layer else ""
    style = "gone" if gone else "input" if layer is None else ""
    title = f"{name}: {line}{reads}{', folded or fused away' if gone else ''}"
    return Box(place[0] - BOX_WIDTH // 2, place[1], short(name), short(line, 33), title, style)


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    """An SVG path from the bottom of one box to the top of another."""
    x0, y0, x1, y1 = start[0], start[1] + BOX_HEIGHT, end[0], end[1]
    if y1 - y0 <= ROW_HEIGHT - BOX_HEIGHT:
        middle = (y0 + y1) // 2
        return f"M{x0} {y0} C{x0} {middle} {x1} {middle} {x1} {y1}"
    side = max(x0, x1) + BOW
    return f"M{x0 + BOX_WIDTH // 3} {y0} C{side} {y0 + 30} {side} {y1 - 30} {x1 + 20} {y1}"


def chart(distribution: Distribution) -> Chart:
    """A histogram; square roots of the shares, so that tails can be seen."""
    d = distribution
    span = (d.high - d.low) or 1.0
    top = max(d.shares) or 1.0
    bin_width = CHART_WIDTH / BINS
    bars = []
    for index, share in enumerate(d.shares):
        if share == 0:
            continue
        center = d.low + (index + 0.5) * span / BINS
        height = max(1.0, CHART_HEIGHT * (share / top) ** 0.5)
        outside = not d.range_low <= center <= d.range_high
        bars.append(
            Bar(
                round(index * bin_width, 1),
                round(CHART_HEIGHT - height, 1),
                round(bin_width - 0.5, 1),
                round(height, 1),
                f"{100 * share:.2g} % near {center:.3g}",
                "outside" if outside else "inside",
            )
        )
    used = max(abs(d.smallest), abs(d.largest)) / (max(abs(d.range_low), abs(d.range_high)) or 1)
    return Chart(
        bars=tuple(bars),
        range_x=round((d.range_low - d.low) / span * CHART_WIDTH, 1),
        range_width=round((d.range_high - d.range_low) / span * CHART_WIDTH, 1),
        low=f"{d.low:.3g}",
        high=f"{d.high:.3g}",
        summary=(
            f"values {d.smallest:.3g} to {d.largest:.3g}, format {d.range_low:.3g} to "
            f"{d.range_high:.3g} ({100 * used:.0f} % used), {percent(d.saturated)} saturate, "
            f"{percent(d.zeros)} are zero"
        ),
    )


def percent(share: float) -> str:
    """``0.31 %``; nothing is shown as more certain than it is."""
    if share == 0:
        return "none"
    return "< 0.01 %" if share < 1e-4 else f"{100 * share:.2f} %"


def arena_picture(manifest: Mapping[str, Any]) -> ArenaPicture:
    """Buffers as rectangles: time from left to right, bytes from bottom to top."""
    size = max(manifest["memory"]["arena"], 1)
    count = len(manifest["layers"])
    bars = []
    for buffer in manifest["arena"]:
        first, last = max(buffer["first_step"], -1), min(buffer["last_step"], count)
        width = (last - first + 1) * STEP_WIDTH
        height = buffer["bytes"] / size * ARENA_HEIGHT
        y = ARENA_HEIGHT - (buffer["offset"] + buffer["bytes"]) / size * ARENA_HEIGHT
        names = ", ".join(buffer["values"])
        text = short(names, max(NARROW_TEXT, width // 7)) if height >= 12 else ""
        bars.append(
            Bar(
                ARENA_LEFT + (first + 1) * STEP_WIDTH + 1,
                round(y + 1, 1),
                width - 2,
                round(max(height - 2, 1), 1),
                f"{names}: {buffer['bytes']:,} bytes at offset {buffer['offset']:,}",
                "scratch" if names.startswith("scratch ") else "buffer",
                text,
            )
        )
    marks = ["in", *map(str, range(count)), "out"]
    steps = [(int(ARENA_LEFT + (i + 0.5) * STEP_WIDTH), mark) for i, mark in enumerate(marks)]
    scale = [(ARENA_HEIGHT * (1 - part / 4), f"{size * part // 4:,}") for part in range(5)]
    width = ARENA_LEFT + (count + 2) * STEP_WIDTH + 8
    return ArenaPicture(width, ARENA_HEIGHT + 42, tuple(bars), tuple(steps), tuple(scale))
