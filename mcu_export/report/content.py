"""The figures of a report: collected once, shown as a page, as tables or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mcu_export.evaluate import Evaluation, evaluate
from mcu_export.exported import Exported
from mcu_export.measured import Measured, read_measured
from mcu_export.ops.base import Array
from mcu_export.report.advice import Advice, advise
from mcu_export.report.statistics import ValueStatistics, collect


@dataclass(frozen=True, eq=False)
class Report:
    """All figures of an export.

    ``evaluation`` is None where no samples were given; ``statistics`` then come from those of the
    self-test.
    """

    exported: Exported
    samples: int
    statistics: tuple[ValueStatistics, ...]
    evaluation: Evaluation | None
    measured: tuple[Measured, ...]
    advice: tuple[Advice, ...]


def make_report(
    exported: Exported,
    samples: Mapping[str, Array] | None,
    labels: Array | None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Report:
    """Run the float and the integer network on samples and collect the figures.

    Args:
        exported: the export.
        samples: for each input (samples, *shape); None: those of the self-test.
        labels: class of each sample, or None.
        progress: called with the stage, what is done and the total.
    """
    formats = exported.quant.input_formats
    shown = samples or {k: a.astype(formats[k].dtype) for k, a in exported.samples.items()}
    total = len(next(iter(shown.values())))
    statistics = collect(exported.quant, shown, lambda n: progress("layers", n, total))
    evaluation = None
    if samples:
        evaluation = evaluate(
            exported.quant, samples, labels, lambda n: progress("evaluate", n, total)
        )
    measured = tuple(read_measured(exported).values())
    advice = advise(exported.manifest, statistics, total, evaluation, measured)
    return Report(exported, total, statistics, evaluation, measured, advice)


def report_json(report: Report) -> dict[str, Any]:
    """The figures as plain lists and numbers; what ``report --json`` prints."""
    manifest = report.exported.manifest
    statistics = {one.name: asdict(one) for one in report.statistics}
    first = report.measured[0] if report.measured else None
    counts = first.layer_instructions if first else ()
    layers = [
        {
            **layer,
            **statistics.get(layer["name"], {}),
            "instructions": counts[index] if len(counts) == len(manifest["layers"]) else None,
        }
        for index, layer in enumerate(manifest["layers"])
    ]
    return {
        "name": report.exported.name,
        "scheme": manifest["scheme"],
        "backend": manifest["backend"],
        "samples": report.samples,
        "macs": manifest["macs"],
        "memory": manifest["memory"],
        "arena": manifest["arena"],
        "inputs": [{**port, **statistics.get(port["name"], {})} for port in manifest["inputs"]],
        "layers": layers,
        "evaluation": asdict(report.evaluation) if report.evaluation else None,
        "measured": [asdict(one) for one in report.measured],
        "folds": manifest["folds"],
        "advice": [asdict(one) for one in report.advice],
    }
