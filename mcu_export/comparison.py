"""``mcu-export compare OLD NEW``: two exports side by side, for a code review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcu_export.evaluate import Evaluation, evaluate
from mcu_export.exported import Exported
from mcu_export.measured import read_measured
from mcu_export.ops.base import Array

# What is compared of a layer; a key that a scheme does not have is empty.
LAYER_KEYS = (
    "op",
    "shape",
    "format",
    "input_bits",
    "weights_bits",
    "output_bits",
    "input_frac_bits",
    "weights_frac_bits",
    "bias_shift",
    "out_shift",
    "kernel",
    "macs",
    "weight_bytes",
    "scratch_bytes",
    "accumulator_bound",
)


@dataclass(frozen=True)
class Change:
    """A figure or a text of both exports; None where one has no such thing."""

    what: str
    old: Any
    new: Any

    @property
    def changed(self) -> bool:
        """Whether they differ."""
        return bool(self.old != self.new)


@dataclass(frozen=True)
class LayerChange:
    """What changed in a layer; ``kind`` is ``changed``, ``added`` or ``removed``."""

    name: str
    kind: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Comparison:
    """Its fields are the keys of ``compare --json``.

    ``same`` says that both exports hold the same network and the same code for it.
    """

    same: bool
    facts: tuple[Change, ...]
    layers: tuple[LayerChange, ...]


def compare_exports(
    old: Exported, new: Exported, samples: Mapping[str, Array] | None, labels: Array | None
) -> Comparison:
    """Formats, sizes, what was measured, and on samples accuracy and agreement with float.

    Args:
        old, new: the exports; their inputs have to be alike where samples are given.
        samples: for each input of both (samples, *shape), or None.
        labels: class of each sample, or None.
    """
    facts = [*_facts(old.manifest, new.manifest), *_measured(old, new)]
    if samples is not None:
        facts += _accuracy(
            evaluate(old.quant, samples, labels), evaluate(new.quant, samples, labels)
        )
    return Comparison(_same(old, new), tuple(facts), tuple(_layers(old.manifest, new.manifest)))


def _same(old: Exported, new: Exported) -> bool:
    names = (".c", ".h", "_weights.h")
    try:
        return old.name == new.name and all(
            (old.folder / f"{old.name}{end}").read_bytes()
            == (new.folder / f"{new.name}{end}").read_bytes()
            for end in names
        )
    except OSError:
        return False


def _facts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    def change(what: str, *path: str) -> Change:
        values = []
        for manifest in (old, new):
            value: Any = manifest
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            values.append(value)
        return Change(what, *values)

    return [
        change("name", "name"),
        change("mcu-export", "version"),
        change("model file", "model", "sha256"),
        change("scheme", "scheme"),
        change("backend", "backend"),
        change("CMSIS-NN", "cmsis_nn_version"),
        change("calibration", "options", "calibration"),
        Change("input formats", _ports(old, "inputs"), _ports(new, "inputs")),
        Change("output formats", _ports(old, "outputs"), _ports(new, "outputs")),
        Change("layers with code", len(old["layers"]), len(new["layers"])),
        change("MACs", "macs"),
        change("RAM bytes", "memory", "ram"),
        change("scratch bytes", "memory", "scratch"),
        change("bytes of constants", "memory", "weights"),
    ]


def _ports(manifest: Mapping[str, Any], role: str) -> str:
    """``x 49x10x1 int8_t, 5 frac bits``."""
    texts = []
    for port in manifest[role]:
        shape = "x".join(map(str, port["shape"]))
        numbers = ", ".join(
            f"{port[key]} {key.replace('_', ' ')}"
            for key in ("frac_bits", "scale", "zero_point")
            if key in port
        )
        texts.append(f"{port['name']} {shape} {port['c_type']}, {numbers}")
    return "; ".join(texts)


def _measured(old: Exported, new: Exported) -> list[Change]:
    before, after = read_measured(old), read_measured(new)
    found = []
    for target in sorted({*before, *after}):
        for what, key in (
            ("instructions", "instructions"),
            ("stack bytes", "stack_bytes"),
            ("flash bytes with code", "flash_bytes"),
        ):
            values = [getattr(known.get(target), key, None) for known in (before, after)]
            found.append(Change(f"{what}, {target}", *values))
    return found


def _accuracy(old: Evaluation, new: Evaluation) -> list[Change]:
    return [
        Change(what, _rounded(getattr(old, key)), _rounded(getattr(new, key)))
        for what, key in (
            ("float accuracy", "float_accuracy"),
            ("accuracy", "accuracy"),
            ("agreement with float", "agreement"),
            ("SQNR of the output in dB", "sqnr_db"),
        )
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _layers(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[LayerChange]:
    """Layers that changed, in the order of the new export; those removed at the end."""
    before = {layer["name"]: layer for layer in old["layers"]}
    after = {layer["name"]: layer for layer in new["layers"]}
    found = []
    for name in (*after, *(name for name in before if name not in after)):
        one, other = before.get(name), after.get(name)
        kind = "changed" if one and other else "added" if other else "removed"
        pairs = [Change(key, (one or {}).get(key), (other or {}).get(key)) for key in LAYER_KEYS]
        changes = tuple(pair for pair in pairs if pair.changed)
        if changes:
            found.append(LayerChange(name, kind, changes))
    return found
