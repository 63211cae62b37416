"""What would help next: rules on the figures of a report, each with the figure it follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcu_export.evaluate import Evaluation
from mcu_export.measured import Measured
from mcu_export.report.statistics import ValueStatistics

ENOUGH_SAMPLES = 50
LOW_SQNR_DB = 15.0
MANY_SATURATED = 0.01
LARGE_PART = 0.4
POINTS_LOST = 1.0


@dataclass(frozen=True)
class Advice:
    """A finding and what to do about it; ``about`` is ``accuracy``, ``memory`` ..."""

    about: str
    finding: str
    action: str


def advise(
    manifest: Mapping[str, Any],
    statistics: Sequence[ValueStatistics],
    samples: int,
    evaluation: Evaluation | None,
    measured: Sequence[Measured],
) -> tuple[Advice, ...]:
    """All that the figures suggest, the most useful first."""
    return (
        *_accuracy(manifest, evaluation),
        *_formats(statistics),
        *_memory(manifest),
        *_speed(manifest, measured),
        *_missing(samples, evaluation, measured),
    )


def _accuracy(manifest: Mapping[str, Any], evaluation: Evaluation | None) -> list[Advice]:
    if evaluation is None or evaluation.drop is None or evaluation.drop < POINTS_LOST:
        return []
    finding = f"{evaluation.drop:.1f} points of accuracy are lost to {manifest['scheme']}"
    action = "give more typical calibration samples, try another --calibration, or 16 bits"
    return [Advice("accuracy", finding, action)]


def _formats(statistics: Sequence[ValueStatistics]) -> list[Advice]:
    found = []
    noisy = [s for s in statistics if s.own_sqnr_db is not None and s.own_sqnr_db < LOW_SQNR_DB]
    if noisy:
        worst = min(noisy, key=lambda s: s.own_sqnr_db or 0.0)
        found.append(
            Advice(
                "accuracy",
                f"{worst.name} adds the most noise: {worst.own_sqnr_db:.1f} dB signal to noise "
                "from this layer alone",
                "look at its histograms: a few large values cost bits of all the others",
            )
        )
    limited = [s for s in statistics if not s.may_saturate]
    clipped = [s for s in limited if s.activations.saturated > MANY_SATURATED]
    if clipped:
        worst = max(clipped, key=lambda s: s.activations.saturated)
        found.append(
            Advice(
                "accuracy",
                f"{100 * worst.activations.saturated:.1f} % of the values of {worst.name} saturate",
                "if accuracy suffers, try --calibration minmax, or scale this input",
            )
        )
    return found


def _memory(manifest: Mapping[str, Any]) -> list[Advice]:
    found = []
    memory, layers = manifest["memory"], manifest["layers"]
    largest = max(layers, key=lambda layer: layer["weight_bytes"], default=None)
    if largest and largest["weight_bytes"] > LARGE_PART * memory["weights"]:
        share = 100 * largest["weight_bytes"] / memory["weights"]
        found.append(
            Advice(
                "flash",
                f"{largest['name']} holds {share:.0f} % of the constants "
                f"({largest['weight_bytes']:,} bytes)",
                "fewer channels in this layer, or pooling before it, saves the most",
            )
        )
    peak = _peak_step(manifest)
    if peak is not None:
        names, size = peak
        found.append(
            Advice(
                "RAM",
                f"RAM is decided by {names}: {size:,} bytes live at once",
                "a stride or pooling before that layer, or fewer channels, lowers it",
            )
        )
    return found


def _peak_step(manifest: Mapping[str, Any]) -> tuple[str, int] | None:
    """Name of the layer during which most bytes are live, and how many."""
    best: tuple[str, int] | None = None
    for index, layer in enumerate(manifest["layers"]):
        live = bytes_live(manifest, index)
        if best is None or live > best[1]:
            best = (layer["name"], live)
    return best


def bytes_live(manifest: Mapping[str, Any], step: int) -> int:
    """Bytes of the arena in use during a step; what is written in place counts once."""
    live = [b for b in manifest["arena"] if b["first_step"] <= step <= b["last_step"]]
    total = end = 0
    for buffer in sorted(live, key=lambda b: b["offset"]):
        last = buffer["offset"] + buffer["bytes"]
        total += max(last - max(buffer["offset"], end), 0)
        end = max(end, last)
    return total


def _speed(manifest: Mapping[str, Any], measured: Sequence[Measured]) -> list[Advice]:
    layers = manifest["layers"]
    for one in measured:
        if len(one.layer_instructions) != len(layers) or not one.instructions:
            continue
        index = max(range(len(layers)), key=lambda i: one.layer_instructions[i])
        spent, macs = one.layer_instructions[index], layers[index]["macs"]
        per_mac = f", {spent / macs:.2f} per MAC" if macs else ""
        return [
            Advice(
                "speed",
                f"{layers[index]['name']} takes {100 * spent / one.instructions:.0f} % of the "
                f"instructions on {one.target}{per_mac}",
                "fewer channels or a stride here saves the most time",
            )
        ]
    return []


def _missing(
    samples: int, evaluation: Evaluation | None, measured: Sequence[Measured]
) -> list[Advice]:
    found = []
    if samples < ENOUGH_SAMPLES:
        finding = f"the histograms come from {samples} samples only"
        found.append(Advice("report", finding, "give --samples F.npz[:KEY] with more"))
    if evaluation is None or evaluation.accuracy is None:
        finding = "accuracy is not known"
        found.append(Advice("report", finding, "give --samples and --labels F.npz:KEY"))
    if not measured:
        finding = "instructions and stack are not measured"
        found.append(Advice("report", finding, "run mcu-export verify DIR --on qemu first"))
    return found
