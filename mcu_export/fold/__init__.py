"""``mcu-export fold``: a model file of the user's own format, without its batch norms.

The function of the network stays the same; that is measured, and too large a difference is an
error. What is written replaces the model in the project it came from: a checkpoint that the same
Saver restores, a ``.pb`` that TensorFlow runs, a ``.keras`` that Keras loads.
"""

from __future__ import annotations

from pathlib import Path

from mcu_export.errors import ModelFileError
from mcu_export.fold.base import Folding, Settings
from mcu_export.fold.checkpoint import fold_checkpoint
from mcu_export.fold.frozen import fold_frozen
from mcu_export.fold.keras.fold import fold_keras
from mcu_export.loaders.keras.model import is_keras
from mcu_export.loaders.tf.checkpoint import checkpoint_prefix, is_checkpoint
from mcu_export.loaders.tf.graph import is_graph_def

__all__ = ["Folding", "Settings", "fold"]


def fold(model: Path, out: Path | None = None, settings: Settings | None = None) -> Folding:
    """Fold the batch norms of ``model`` into its weights and write the result.

    Args:
        model: a TensorFlow 1 checkpoint (prefix or any file of it), a frozen ``.pb`` or a Keras
            file; the content decides which.
        out: what to write; by default the name of the model with ``_bnfused``.
        settings: how to fold.

    Raises:
        ModelFileError: the model cannot be read or is folded already.
        UnsupportedLayerError: the network has what mcu-export does not know.
        VerificationError: the folded network computes something else.
    """
    chosen = settings or Settings()
    if is_checkpoint(model):
        prefix = checkpoint_prefix(model)
        target = prefix.with_name(f"{prefix.name}_bnfused") if out is None else out
        return fold_checkpoint(prefix, checkpoint_prefix(target), chosen)
    if model.is_file() and is_graph_def(model):
        target = model.with_name(f"{model.stem}_bnfused{model.suffix}") if out is None else out
        return fold_frozen(model, target, chosen)
    if model.is_file() and is_keras(model):
        target = model.with_name(f"{model.stem}_bnfused.keras") if out is None else out
        return fold_keras(model, target, chosen)
    raise ModelFileError(
        "is no TensorFlow checkpoint, no frozen graph and no Keras file"
        if model.exists()
        else "does not exist",
        where=str(model),
        fix="give the prefix of a checkpoint (or its .index), a .pb, .keras or .h5 file",
    )
