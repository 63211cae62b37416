"""Which variable of a checkpoint has which parameter of a network, and what a fold makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from mcu_export.fold.base import NEUTRAL, LayerFold, scaled_weights
from mcu_export.loaders.tf.graph import Imported
from mcu_export.loaders.tf.meta_graph import MetaGraph
from mcu_export.loaders.tf.nodes import ancestors
from mcu_export.loaders.tf.values import Origin
from mcu_export.ops import Array, BatchNorm

ROLES = ("gamma", "beta", "mean", "variance")


class Variables:
    """The variables of one checkpoint.

    Args:
        imported: the network.
        opened: the graph that it was made of.
        tensors: the checkpoint by name.
    """

    def __init__(self, imported: Imported, opened: MetaGraph, tensors: Mapping[str, Array]) -> None:
        self._graph = imported.graph
        self._opened = opened
        self._tensors = tensors
        self._origins = imported.importer.origins
        # A statistic of the batch and the variable in its place have the same array.
        names = {id(array): name for name, array in tensors.items()}
        known = opened.known.items()
        self._names = {tensor: names[id(a)] for tensor, a in known if id(a) in names}
        self._uses: Counter[str] = Counter()
        for origins in self._origins.values():
            self._uses.update({self._name(origin) for origin in origins})

    def needed(self) -> list[str]:
        """Names of the variables that the network reads, in the order of the checkpoint."""
        reached = ancestors(self._opened.graph.nodes, self._opened.graph.outputs)
        read = {n for tensor, n in self._names.items() if tensor.rpartition(":")[0] in reached}
        read.update(self._name(origin) for all_of in self._origins.values() for origin in all_of)
        return [name for name in self._tensors if name in read]

    def of_batch_norms(self, folds: Iterable[LayerFold]) -> set[str]:
        """Names of the variables of the folded batch norms."""
        norms = [name for item in folds for name in item.batch_norms]
        return {
            self._name(origin)
            for norm in norms
            for role in ROLES
            for origin in self._origins.get((norm, role), ())
        } - {""}

    def folded(self, item: LayerFold, mode: str) -> tuple[str, dict[str, Array]]:
        """New values of the variables by name; or the reason why they cannot take the fold."""
        node = self._graph.node(item.layer)
        (origin,) = self._origins[item.layer, "weights"]
        name = self._alone(origin, origin.array.size)
        if not name:
            return "the weights are no variable of this layer alone", {}
        transposed = node.params["weights"].shape == origin.array.shape and origin.array.ndim == 2
        square = transposed and origin.array.shape[0] == origin.array.shape[1]
        if square:
            transposed = np.array_equal(node.params["weights"], origin.array)
        weights = scaled_weights(node.op, origin.array, item.scale, transposed)
        values = {name: weights}
        for norm in item.batch_norms:
            neutral = self._neutral(norm)
            if neutral is None:
                return f"the scale of {norm} is not in variables of its own", {}
            values.update(neutral)
        bias = np.asarray(node.params["bias"], np.float64)
        total = bias * item.scale + item.offset
        if not self._place_bias(item, bias, total, mode, values):
            return "there is no variable that can take the offset", {}
        return "", {key: self._shaped(key, array) for key, array in values.items()}

    def _place_bias(
        self, item: LayerFold, bias: Array, total: Array, mode: str, values: dict[str, Array]
    ) -> bool:
        """Put the folded bias into the layer's bias, else into the last batch norm's offset."""
        size = total.size
        biases = [
            origin
            for origin in self._origins.get((item.layer, "bias"), ())
            if self._alone(origin, size)
        ]
        if biases:
            first, *others = (self._name(origin) for origin in biases)
            values.update(dict.fromkeys(others, np.zeros(size)))
            # What constants of the graph add stays in the graph.
            fixed = bias - sum(origin.array.reshape(-1).astype(np.float64) for origin in biases)
            values[first] = total - fixed
            return True
        if mode != NEUTRAL or np.any(bias):
            return not np.any(total)
        for role, sign in (("beta", 1), ("mean", -1)):
            for origin in self._origins.get((item.batch_norms[-1], role), ()):
                if name := self._alone(origin, size):
                    values[name] = sign * total
                    return True
        return False

    def _neutral(self, norm: str) -> dict[str, Array] | None:
        """Values with which the batch norm is ``x * 1 + 0``; None where variables cannot do it."""
        node = self._graph.node(norm)
        assert isinstance(node.op, BatchNorm)
        size = node.params["mean"].size
        names: dict[str, str] = {}
        for role in ROLES:
            for origin in self._origins.get((norm, role), ()):
                names[role] = self._alone(origin, size)
        values = {names[role]: np.zeros(size) for role in ("beta", "mean") if names.get(role)}
        for role in ("beta", "mean"):
            if not names.get(role) and np.any(node.params[role]):
                return None
        gamma = np.asarray(node.params["gamma"], np.float64)
        variance = np.asarray(node.params["variance"], np.float64)
        if names.get("variance"):
            gamma = np.ones(size) if names.get("gamma") else gamma
            variance = gamma**2 - node.op.epsilon
            values[names["variance"]] = variance
        else:
            gamma = np.sqrt(variance + node.op.epsilon)
        if names.get("gamma"):
            values[names["gamma"]] = gamma
        elif not names.get("variance") or np.any(gamma <= 0):
            return None
        return values

    def _alone(self, origin: Origin, size: int) -> str:
        """The variable behind ``origin`` where it has that size and no other use; else empty."""
        name = self._name(origin)
        fits = name and self._tensors[name].size == size and self._uses[name] == 1
        return name if fits else ""

    def _name(self, origin: Origin) -> str:
        return self._names.get(origin.tensor, "")

    def _shaped(self, name: str, array: Array) -> Array:
        old = self._tensors[name]
        return array.reshape(old.shape).astype(old.dtype)
