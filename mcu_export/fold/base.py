"""What every fold shares: settings, what is folded where, and the proof that nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mcu_export.errors import ModelFileError, VerificationError
from mcu_export.graph import Graph, run_float
from mcu_export.ops import Array, BatchNorm, DepthwiseConv2D, Op, TransposeConv2D
from mcu_export.passes import PASSES
from mcu_export.passes.fold_batch_norm import fold_batch_norm

TOLERANCE = 1e-4
RANDOM_SAMPLES = 16
DEFAULT_EPSILON = 0.001
NEUTRAL, KEEP, REMOVE = BATCH_NORM_CHOICES = ("neutral", "keep", "remove")


@dataclass(frozen=True)
class Settings:
    """How to fold.

    Attributes:
        bn_epsilon: epsilon where no graph says it.
        batch_norms: what a checkpoint has for folded batch norms: ``neutral`` variables, which
            change nothing where they are applied; the old ones (``keep``); none (``remove``).
        arch: naming convention of a checkpoint without ``.meta``.
        size_info: the sizes that the original scripts call ``model_size_info``.
        samples: inputs for the comparison beside the random ones, ``FILE.npz[:KEY]``.
    """

    bn_epsilon: float = DEFAULT_EPSILON
    batch_norms: str = NEUTRAL
    arch: str = ""
    size_info: tuple[int, ...] = ()
    samples: str = ""


@dataclass(frozen=True)
class LayerFold:
    """Batch norms in a row that go into one layer: ``y = x * scale + offset``, float64."""

    layer: str
    batch_norms: tuple[str, ...]
    epsilons: tuple[float, ...]
    scale: Array
    offset: Array


@dataclass(frozen=True)
class Comparison:
    """Largest difference of the outputs, and that divided by the largest output."""

    difference: float
    relative: float
    samples: int


@dataclass(frozen=True)
class Folding:
    """What was folded and written.

    Attributes:
        folds: what went where.
        kept: batch norms that could not be folded and stay as they are, with the reason.
        comparison: original against folded.
        scope: what was compared: ``network``, or ``layers`` where no graph tells the network.
        files: what was written.
    """

    folds: tuple[LayerFold, ...]
    kept: Mapping[str, str]
    comparison: Comparison
    scope: str
    files: tuple[Path, ...] = field(default=())


def plan_folds(graph: Graph) -> list[LayerFold]:
    """Which batch norms of a loaded network go back into which layers."""
    folded = graph
    for one in PASSES[: PASSES.index(fold_batch_norm) + 1]:
        folded = one(folded)
    planned: dict[str, LayerFold] = {}
    for item in folded.folds:
        node = graph.node(item.batch_norm)
        assert isinstance(node.op, BatchNorm)
        wide = {role: np.asarray(array, np.float64) for role, array in node.params.items()}
        scale, offset = node.op.scale_and_offset(wide)
        before = planned.get(item.into) or LayerFold(
            item.into, (), (), np.ones_like(scale), np.zeros_like(offset)
        )
        planned[item.into] = LayerFold(
            item.into,
            (*before.batch_norms, item.batch_norm),
            (*before.epsilons, item.epsilon),
            before.scale * scale,
            before.offset * scale + offset,
        )
    return list(planned.values())


def unfolded(graph: Graph, folds: list[LayerFold]) -> dict[str, str]:
    """The batch norms that are in no fold, each with the reason."""
    planned = {name for item in folds for name in item.batch_norms}
    return {
        node.name: "not right after a layer of its own with weights"
        for node in graph.nodes
        if isinstance(node.op, BatchNorm) and node.name not in planned
    }


def scaled_weights(op: Op | None, weights: Array, scale: Array, transposed: bool = False) -> Array:
    """Weights as TensorFlow lays them out, each output channel times its scale; float64.

    Args:
        op: the layer; depthwise weights are (h, w, in, multiplier), those of a transposed
            convolution (h, w, out, in), all others (..., out).
        weights: the weights.
        scale: one factor for each output channel.
        transposed: whether they are (out, in).
    """
    wide = np.asarray(weights, np.float64)
    if isinstance(op, DepthwiseConv2D):
        return wide * scale.reshape(wide.shape[-2:])
    if isinstance(op, TransposeConv2D):
        return wide * scale[:, None]
    return wide * (scale[:, None] if transposed else scale)


def require_scales(folds: list[LayerFold], where: str, normalizes: bool) -> None:
    """An error where every batch norm is neutral, as :mod:`mcu_export.fold` leaves them.

    A trained batch norm never has a scale of exactly 1 in all channels, and an untrained one has
    ``1 / sqrt(1 + epsilon)``. ``normalizes``: whether there are batch norms, perhaps none in
    ``folds``.
    """
    if normalizes and all(np.allclose(item.scale, 1, rtol=0, atol=1e-6) for item in folds):
        raise ModelFileError(
            "every batch norm is neutral: this model is folded already",
            where=where,
            fix="use it as it is, or fold the model from before the folding",
        )


def compare(before: Graph, after: Graph, samples: Mapping[str, Array] | None) -> Comparison:
    """Both networks on random inputs, and on given ones; in float64.

    Raises:
        VerificationError: they differ by more than ``TOLERANCE`` of the largest output.
    """
    random = np.random.default_rng(0)
    batches = [{t.name: random.standard_normal((RANDOM_SAMPLES, *t.shape)) for t in before.inputs}]
    if samples:
        batches.append({name: np.asarray(array, np.float64) for name, array in samples.items()})
    results = []
    for batch in batches:
        one, other = run_float(before, batch), run_float(after, batch)
        results += [
            (one[name], other[twin])
            for name, twin in zip(before.outputs, after.outputs, strict=True)
        ]
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    return judged(results, count)


def judged(results: list[tuple[Array, Array]], count: int) -> Comparison:
    """The largest difference of pairs of outputs, an error where it is too large."""
    worst = Comparison(0.0, 0.0, count)
    for one, other in results:
        difference = float(np.max(np.abs(one - other), initial=0.0))
        largest = float(np.max(np.abs(one), initial=0.0))
        relative = difference / largest if largest else difference
        worst = Comparison(max(worst.difference, difference), max(worst.relative, relative), count)
    if not worst.relative <= TOLERANCE:
        raise VerificationError(
            f"the folded network differs by {worst.relative:.1e} of the largest output, "
            f"{TOLERANCE:.0e} is allowed",
            fix="nothing was written; this is a bug of mcu-export or an ill-conditioned network "
            "(a variance near 0): report it with the model",
        )
    return worst
