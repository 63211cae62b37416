"""The two halves of an SVDF layer (Nakkiran et al. 2015), between which its memory lies.

A layer keeps the features of its last frames. Its memory is an input of the network, (filters,
frames), and with the newest features in it an output: whoever calls the network passes it on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcu_export.ops.base import Array, Op, Params, Shape, elements, require
from mcu_export.ops.dense import Dense


@dataclass(frozen=True)
class SvdfFeatures(Dense):
    """Features of an SVDF layer's newest frame: ``weights`` (filters, in) times the input."""

    kind = "svdf_features"


@dataclass(frozen=True)
class SvdfTime(Op):
    """Filters over the frames that an SVDF layer remembers; each ``rank`` of them are summed.

    The input and ``weights`` are (filters, frames), ``bias`` is (filters / rank).
    """

    kind = "svdf_time"

    rank: int = 1

    def infer(self, shapes: Sequence[Shape], params: Params) -> Shape:
        (shape,), weights = shapes, params["weights"]
        filters = weights.shape[0]
        require(
            shape == weights.shape and self.rank > 0 and filters % self.rank == 0,
            f"a memory of shape {shape} does not fit weights {weights.shape} of rank {self.rank}",
        )
        return (filters // self.rank,)

    def compute(self, inputs: Sequence[Array], params: Params) -> Array:
        (memory,) = inputs
        filtered = (memory * params["weights"]).sum(axis=2)
        by_unit = filtered.reshape(len(memory), -1, self.rank).sum(axis=2)
        out: Array = by_unit + params["bias"]
        return out

    def macs(self, shapes: Sequence[Shape], output: Shape, params: Params) -> int:
        return elements(shapes[0])
