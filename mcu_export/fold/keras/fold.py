"""Folding a Keras file of any version: a ``.keras`` archive of Keras 3 without the batch norms."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.fold.base import Comparison, Folding, Settings, compare, scaled_weights
from mcu_export.fold.keras.archive import archive_bytes
from mcu_export.fold.keras.convert import as_keras_3
from mcu_export.fold.keras.edit import in_keras_order, without_layers
from mcu_export.fold.keras.plan import KERNELS, LayerPlan, layers_by_path, plan_layers
from mcu_export.graph import Graph
from mcu_export.loaders.keras.config import LayerSpec
from mcu_export.loaders.keras.model import KerasFile, load_keras, open_keras
from mcu_export.loaders.keras.weights import LayerPath, roles_of
from mcu_export.ops import Array
from mcu_export.samples import load_samples
from mcu_export.write import write_files

OLDEST = "3.0.0"  # what a file of Keras 1 or 2 becomes


def fold_keras(path: Path, out: Path, settings: Settings) -> Folding:
    """Fold the Keras file ``path`` and write the archive ``out``. Names of layers do not change.

    Raises:
        ModelFileError: it cannot be read, or nothing is there to fold.
        UnsupportedLayerError: a layer is not supported, or Keras 3 does not have it.
        VerificationError: the folded network computes something else.
    """
    _check_target(path, out)
    file = open_keras(path)
    built = file.build()
    plans, kept = plan_layers(built, file)
    if not plans:
        reasons = "; ".join(f"{name} is {why}" for name, why in kept.items())
        raise ModelFileError(
            f"no batch norm can be folded: {reasons or 'the network has none'}",
            where=path.name,
            fix="use it as it is; it may be folded already",
        )
    content = _folded(file, plans)
    comparison = _compared(built.graph, content, settings)
    write_files(out.parent, {out.name: content})
    folds = tuple(plan.fold for plan in plans)
    return Folding(folds, kept, comparison, "network", (out,))


def _check_target(path: Path, out: Path) -> None:
    if out.suffix != ".keras":
        raise ModelFileError(
            "Keras knows its archives by the suffix .keras",
            where=str(out),
            fix=f"name it {out.with_suffix('.keras').name}",
        )
    if out.resolve() == path.resolve():
        raise ModelFileError("would overwrite the original", where=str(out), fix="name another OUT")


def _folded(file: KerasFile, plans: list[LayerPlan]) -> bytes:
    """The archive without the batch norms of ``plans``."""
    removed = {norm for plan in plans for norm in plan.batch_norms}
    changed = {plan.path: plan for plan in plans}
    arrays: dict[LayerPath, dict[str, Array]] = {}
    for path, layer in layers_by_path(file.model):
        if path not in removed:
            arrays[path] = _arrays(file, path, layer)
        if path in changed:
            arrays[path] |= _with_batch_norms(changed[path], arrays[path])
    config = without_layers(as_keras_3(file), removed, set(changed))
    version = str(file.details["keras_version"])
    version = version if version.startswith("3") else OLDEST
    return archive_bytes(in_keras_order(config, file.where), version, arrays)


def _arrays(file: KerasFile, path: LayerPath, layer: LayerSpec) -> dict[str, Array]:
    """The weights of a layer by role, shaped as Keras 3 has them."""
    arrays = {}
    for role in roles_of(layer):
        if role.name == "count":
            arrays["count"] = np.zeros((), np.int64)
            continue
        array = file.weights.array(path, role.name)
        if "1D" in layer.class_name and array.ndim == 4:  # Keras 1 had an axis of size 1 in it
            array = array[:, 0]
        arrays[role.name] = array
    return arrays


def _with_batch_norms(plan: LayerPlan, arrays: dict[str, Array]) -> dict[str, Array]:
    """New values of the weights that change."""
    scale, offset = plan.fold.scale, plan.fold.offset
    kernel = KERNELS[plan.layer.class_name]
    bias = np.asarray(arrays.get("bias", np.zeros_like(scale)), np.float64)
    return {kernel: scaled_weights(plan.op, arrays[kernel], scale), "bias": bias * scale + offset}


def _compared(before: Graph, content: bytes, settings: Settings) -> Comparison:
    """What was loaded against what will be written, read back."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "folded.keras"
        written.write_bytes(content)
        after = load_keras(written)
    samples = load_samples(settings.samples, after.inputs) if settings.samples else None
    return compare(before, after, samples)
