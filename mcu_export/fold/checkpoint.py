"""Folding a TensorFlow 1 checkpoint whose graph, ``.meta``, says what belongs together.

The result has the same variables under the same names, those of the training alone (slots of the
optimizer, counters) left out. By default the variables of folded batch norms become neutral, so
that both a graph without batch norms and the one that the checkpoint was trained in restore it and
compute the right thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mcu_export.errors import ModelFileError
from mcu_export.fold.base import (
    KEEP,
    NEUTRAL,
    REMOVE,
    Folding,
    Settings,
    compare,
    plan_folds,
    require_scales,
    unfolded,
)
from mcu_export.fold.naming import fold_by_naming
from mcu_export.fold.variables import Variables
from mcu_export.loaders.tf.checkpoint import read_checkpoint, write_checkpoint
from mcu_export.loaders.tf.meta_graph import import_meta_graph, is_meta_graph, open_meta_graph
from mcu_export.loaders.tf.moving_averages import FUSED_OPS
from mcu_export.loaders.tf.nodes import ancestors
from mcu_export.ops import Array
from mcu_export.samples import load_samples


def fold_checkpoint(prefix: Path, out: Path, settings: Settings) -> Folding:
    """Fold the checkpoint ``prefix`` and write the checkpoint ``out``.

    Raises:
        ModelFileError: it cannot be read, or is folded already.
        VerificationError: the folded network computes something else.
    """
    if out == prefix:
        raise ModelFileError("would overwrite the original", where=str(out), fix="name another OUT")
    tensors = read_checkpoint(prefix)
    if not is_meta_graph(prefix):
        done = fold_by_naming(prefix.name, tensors, settings)
        return _written(out, done.tensors, done.folding)
    opened = open_meta_graph(prefix, tensors)
    imported = import_meta_graph(opened)
    folds = plan_folds(imported.graph)
    reached = ancestors(opened.graph.nodes, opened.graph.outputs).values()
    # Neutral batch norms that are written out in primitives vanish from the network.
    normalizes = any(node.op in {"Rsqrt", *FUSED_OPS} for node in reached)
    kept = unfolded(imported.graph, folds)
    require_scales(folds, prefix.name, normalizes and not kept)
    variables = Variables(imported, opened, tensors)
    changed: dict[str, Array] = {}
    done_folds = []
    for item in folds:
        problem, values = variables.folded(item, settings.batch_norms)
        if problem:
            kept.update(dict.fromkeys(item.batch_norms, problem))
        else:
            done_folds.append(item)
            changed.update(values)
    result = {name: tensors[name] for name in variables.needed()} | changed
    after = import_meta_graph(open_meta_graph(prefix, tensors | result)).graph
    samples = load_samples(settings.samples, after.inputs) if settings.samples else None
    comparison = compare(imported.graph, after, samples)
    folded_norms = variables.of_batch_norms(done_folds)
    if settings.batch_norms == KEEP:
        result.update((name, tensors[name]) for name in folded_norms)
    elif settings.batch_norms == REMOVE:
        result = {name: array for name, array in result.items() if name not in folded_norms}
    folding = Folding(tuple(done_folds), kept, comparison, "network")
    graph = prefix.with_name(f"{prefix.name}.meta") if settings.batch_norms == NEUTRAL else None
    return _written(out, result, folding, graph)


def _written(
    out: Path, tensors: Mapping[str, Array], folding: Folding, graph: Path | None = None
) -> Folding:
    """Write the checkpoint, and beside it the graph, which neutral batch norms keep right."""
    out.parent.mkdir(parents=True, exist_ok=True)
    files: tuple[Path, ...] = write_checkpoint(out, tensors)
    if graph is not None:
        meta = out.with_name(f"{out.name}.meta")
        meta.write_bytes(graph.read_bytes())
        files = (*files, meta)
    return replace(folding, files=files)
