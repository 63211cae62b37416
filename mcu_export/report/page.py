"""The report as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcu_export.evaluate import Evaluation
from mcu_export.render import render_template
from mcu_export.report.advice import Advice
from mcu_export.report.content import Report
from mcu_export.report.pictures import (
    ArenaPicture,
    Chart,
    Picture,
    arena_picture,
    chart,
    network_picture,
    percent,
    short,
)
from mcu_export.report.statistics import ValueStatistics


@dataclass(frozen=True)
class Tile:
    """A key figure."""

    value: str
    unit: str
    text: str


@dataclass(frozen=True)
class LayerView:
    """A row of the table of layers; finished texts."""

    index: str
    name: str
    title: str
    op: str
    shape: str
    bits: str
    format: str
    weights_format: str
    shifts: str
    macs: str
    bytes: str
    instructions: str
    per_mac: str
    accumulator: str
    sqnr: str
    own_sqnr: str
    saturated: str


@dataclass(frozen=True)
class FormatView:
    """Histograms of an input or layer."""

    name: str
    title: str
    op: str
    format: str
    activations: Chart
    weights_format: str
    weights: Chart | None


@dataclass(frozen=True)
class MatrixRow:
    """A true class in the confusion matrix; a cell is (count, strength 0 to 9, right or wrong)."""

    name: str
    total: str
    right: str
    cells: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class BufferRow:
    """A piece of the arena."""

    names: str
    offset: str
    bytes: str
    first: str
    last: str


@dataclass(frozen=True)
class FoldRow:
    """A batch normalization that went into a layer."""

    batch_norm: str
    into: str
    epsilon: str
    difference: str


@dataclass(frozen=True)
class PageView:
    """All that the page shows."""

    name: str
    about: str
    tiles: tuple[Tile, ...]
    advice: tuple[Advice, ...]
    layers: tuple[LayerView, ...]
    has_shifts: bool
    has_instructions: bool
    formats: tuple[FormatView, ...]
    classes: tuple[str, ...]
    matrix: tuple[MatrixRow, ...]
    arena: ArenaPicture
    arena_text: str
    buffers: tuple[BufferRow, ...]
    before: Picture | None
    after: Picture
    folds: tuple[FoldRow, ...]
    facts: tuple[tuple[str, str], ...]


def page(report: Report) -> str:
    """The page as text."""
    return render_template("report/report.html.j2", v=page_view(report))


def page_view(report: Report) -> PageView:
    """Figures as texts and pictures."""
    manifest = report.exported.manifest
    graph = report.exported.quant.graph
    formats = {name: fmt.text() for name, fmt in report.exported.quant.formats().items()}
    inputs = [tensor.name for tensor in graph.inputs]
    after = [
        {"name": n.name, "op": n.op.kind, "inputs": n.inputs, "shape": n.shape} for n in graph.nodes
    ]
    kept = {node.name for node in graph.nodes}
    loaded = manifest.get("loaded", [])
    gone = [layer["name"] for layer in loaded if layer["name"] not in kept]
    shown = {*inputs, *report.exported.layers}
    layers = tuple(_layers(report))
    memory = manifest["memory"]
    at_bound = memory["arena"] == memory["arena_lower_bound"]
    return PageView(
        name=report.exported.name,
        about=f"{manifest['scheme']}, {manifest['backend']}, {report.samples} samples",
        tiles=tuple(_tiles(report)),
        advice=report.advice,
        layers=layers,
        has_shifts=any(layer.shifts for layer in layers),
        has_instructions=any(layer.instructions for layer in layers),
        formats=tuple(_format(one) for one in report.statistics if one.name in shown),
        classes=tuple(_classes(report)),
        matrix=tuple(_matrix(report)),
        arena=arena_picture(manifest),
        arena_text=f"{memory['arena']:,} bytes, scratch memory included; "
        + ("no plan can need less" if at_bound else f"at least {memory['arena_lower_bound']:,}"),
        buffers=tuple(_buffers(manifest)),
        before=network_picture(inputs, loaded, {}, gone) if loaded else None,
        after=network_picture(inputs, after, formats),
        folds=tuple(
            FoldRow(
                fold["batch_norm"],
                fold["into"],
                f"{fold['epsilon']:g}",
                f"{fold['difference']:.1e}",
            )
            for fold in manifest["folds"]
        ),
        facts=tuple(_facts(report)),
    )


def _tiles(report: Report) -> list[Tile]:
    manifest, evaluation = report.exported.manifest, report.evaluation
    tiles = [
        Tile(f"{manifest['memory']['ram']:,}", "bytes", "RAM, all included"),
        Tile(f"{manifest['memory']['weights']:,}", "bytes", "constants in flash"),
        Tile(f"{manifest['macs']:,}", "", "multiply-accumulates"),
    ]
    for one in report.measured:
        tiles.append(Tile(f"{one.instructions:,}", "", f"instructions, {one.target}"))
        tiles.append(Tile(f"{one.flash_bytes:,}", "bytes", f"flash with code, {one.target}"))
        tiles.append(Tile(f"{one.stack_bytes:,}", "bytes", f"stack, {one.target}"))
    if evaluation:
        tiles += _accuracy_tiles(evaluation)
    return tiles


def _accuracy_tiles(evaluation: Evaluation) -> list[Tile]:
    tiles = []
    if evaluation.accuracy is not None and evaluation.float_accuracy is not None:
        text = f"accuracy (float {100 * evaluation.float_accuracy:.1f} %)"
        tiles.append(Tile(f"{100 * evaluation.accuracy:.1f}", "%", text))
    tiles.append(Tile(f"{100 * evaluation.agreement:.1f}", "%", "answers as in float"))
    if evaluation.sqnr_db is not None:
        tiles.append(Tile(f"{evaluation.sqnr_db:.1f}", "dB", "signal to noise, output"))
    return tiles


def _layers(report: Report) -> list[LayerView]:
    manifest = report.exported.manifest
    statistics = {one.name: one for one in report.statistics}
    counts = report.measured[0].layer_instructions if report.measured else ()
    rows = []
    for index, layer in enumerate(manifest["layers"]):
        seen = statistics[layer["name"]]
        spent = counts[index] if len(counts) == len(manifest["layers"]) else None
        bound = layer.get("accumulator_bound")
        rows.append(
            LayerView(
                index=str(index),
                name=short(layer["name"], 32),
                title=f"{layer['name']}, {layer['kernel']}",
                op=layer["op"],
                shape="\u00d7".join(map(str, layer["shape"])),
                bits=_bits(layer),
                format=seen.format,
                weights_format=seen.weights_format,
                shifts=_shifts(layer),
                macs=f"{layer['macs']:,}",
                bytes=f"{layer['weight_bytes']:,}",
                instructions="" if spent is None else f"{spent:,}",
                per_mac=f"{spent / layer['macs']:.2f}" if spent and layer["macs"] else "",
                accumulator="" if bound is None else str(bound.bit_length() + 1),
                sqnr=_db(seen.sqnr_db),
                own_sqnr=_db(seen.own_sqnr_db),
                saturated=percent(seen.activations.saturated),
            )
        )
    return rows


def _bits(layer: dict[str, Any]) -> str:
    """``16 x 8 > 16``: inputs times weights give the output."""
    inputs = "/".join(str(bits) for bits in dict.fromkeys(layer["input_bits"]))
    weights = f" \u00d7 {layer['weights_bits']}" if "weights_bits" in layer else ""
    return f"{inputs}{weights} \u2192 {layer['output_bits']}"


def _shifts(layer: dict[str, Any]) -> str:
    found = [layer[key] for key in ("bias_shift", "out_shift") if layer.get(key) is not None]
    return " / ".join(map(str, found))


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"


def _format(one: ValueStatistics) -> FormatView:
    weights = chart(one.weights) if one.weights else None
    return FormatView(
        short(one.name, 40),
        one.name,
        one.op or "input",
        one.format,
        chart(one.activations),
        one.weights_format,
        weights,
    )


def _classes(report: Report) -> list[str]:
    confusion = report.evaluation.confusion if report.evaluation else None
    labels = report.exported.manifest["labels"]
    return [labels[i] if i < len(labels) else str(i) for i in range(len(confusion or ()))]


def _matrix(report: Report) -> list[MatrixRow]:
    confusion = report.evaluation.confusion if report.evaluation else None
    rows = []
    for index, (name, row) in enumerate(zip(_classes(report), confusion or (), strict=True)):
        total = sum(row)
        rows.append(
            MatrixRow(
                name,
                str(total),
                f"{100 * row[index] / total:.0f} %" if total else "",
                tuple(
                    (count, _strength(count, total), "right" if column == index else "wrong")
                    for column, count in enumerate(row)
                ),
            )
        )
    return rows


def _strength(count: int, total: int) -> int:
    """0 for none, else 1 to 9 by the share of the row."""
    return min(9, 1 + 9 * count // max(total, 1)) if count else 0


def _buffers(manifest: Any) -> Sequence[BufferRow]:
    count = len(manifest["layers"])
    return [
        BufferRow(
            ", ".join(b["values"]),
            f"{b['offset']:,}",
            f"{b['bytes']:,}",
            "input" if b["first_step"] < 0 else str(b["first_step"]),
            "output" if b["last_step"] >= count else str(b["last_step"]),
        )
        for b in manifest["arena"]
    ]


def _facts(report: Report) -> list[tuple[str, str]]:
    manifest = report.exported.manifest
    options = manifest["options"]
    return [
        ("model file", manifest["model"]["file"]),
        ("SHA-256", manifest["model"]["sha256"]),
        ("mcu-export", manifest["version"]),
        *((key.replace("_", " "), str(value)) for key, value in options.items()),
        *((key.replace("_", " "), str(value)) for key, value in manifest["details"].items()),
    ]
