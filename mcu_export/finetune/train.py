"""The training loop: integers forward, float backward, the best epoch kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcu_export.errors import SamplesError, UsageError
from mcu_export.evaluate import argmax
from mcu_export.finetune.network import TrainableNetwork, constants
from mcu_export.finetune.tensorflow import keras, tensorflow
from mcu_export.logits import before_softmax
from mcu_export.ops.base import Array, Params
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize, used_bits_of
from mcu_export.reference import quantize_inputs, run_batches
from mcu_export.schemes.widths import POWER_OF_TWO


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        epochs: times over all samples.
        batch: samples of one step.
        learning_rate: of Adam in the first step; it falls to 0 along a cosine.
        validation: share of the samples that is held out; the best epoch is chosen on them.
        seed: of the order and of the choice of held-out samples.
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 2e-4
    validation: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave; epoch 0 is before training. ``accuracy`` is in integers, held out."""

    epoch: int
    loss: float | None
    accuracy: float


@dataclass(frozen=True, eq=False)
class FineTuned:
    """The best epoch in integers, and how it came about."""

    quant: QuantGraph
    network: TrainableNetwork
    epochs: tuple[Epoch, ...]
    best: Epoch


def finetune(
    quant: QuantGraph,
    samples: Mapping[str, Array],
    labels: Array,
    training: Training,
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> FineTuned:
    """Train a power-of-two network in its own integers.

    Args:
        quant: the network as it would be exported.
        samples: for each input (samples, *shape), real values or integers of the input's type.
        labels: class of each sample.
        training: how.
        progress: called after each epoch.

    Raises:
        UsageError: the scheme cannot be trained, or TensorFlow is missing.
        SamplesError: there are too few samples to hold some out.
        UnsupportedLayerError: a layer that cannot be trained.
    """
    if quant.scheme not in POWER_OF_TWO:
        raise UsageError(
            f"{quant.scheme} cannot be trained",
            where="--scheme",
            fix="use " + ", ".join(sorted(POWER_OF_TWO)),
        )
    keras().utils.set_random_seed(training.seed)
    loop = _Loop(quant, samples, labels, training)
    for _ in range(training.epochs):
        progress(loop.epoch())
    return loop.result()


class _Loop:
    """The state of a training: float constants, their optimizer, the best epoch so far."""

    def __init__(
        self, quant: QuantGraph, samples: Mapping[str, Array], labels: Array, training: Training
    ) -> None:
        self.training, self.labels = training, labels
        self.inputs = quantize_inputs(quant, samples)
        self.random = np.random.default_rng(training.seed)
        self.train, self.held_out = _split(len(labels), training.validation, self.random)
        self.start = quant
        self.network = TrainableNetwork(quant.graph)
        self.last = before_softmax(quant.graph, quant.graph.outputs[0])
        first = constants(quant)
        self.floats = [
            tensorflow().Variable(first[one.node.name][one.role]) for one in self.network.trained
        ]
        steps = training.epochs * -(-len(self.train) // training.batch)
        decay = keras().optimizers.schedules.CosineDecay(training.learning_rate, steps)
        self.optimizer = keras().optimizers.Adam(decay)
        self.epochs = [Epoch(0, None, self.accuracy(quant))]
        self.best = (self.epochs[0], quant)

    def quantized(self) -> QuantGraph:
        """The network in integers with the constants of now, as an export would make it."""
        values: dict[str, dict[str, Array]] = {}
        for one, variable in zip(self.network.trained, self.floats, strict=True):
            values.setdefault(one.node.name, {})[one.role] = variable.numpy()
        return requantize(self.start, values)

    def epoch(self) -> Epoch:
        """One pass over all samples that are not held out."""
        order = self.random.permutation(self.train)
        losses = [
            self.step(order[begin : begin + self.training.batch])
            for begin in range(0, len(order), self.training.batch)
        ]
        quant = self.quantized()
        done = Epoch(len(self.epochs), float(np.mean(losses)), self.accuracy(quant))
        self.epochs.append(done)
        if done.accuracy > self.best[0].accuracy:
            self.best = (done, quant)
        return done

    def step(self, chosen: Array) -> float:
        """One step of the optimizer; returns the loss."""
        quant = self.quantized()
        self.network.assign(quant)
        with tensorflow().GradientTape() as tape:
            scores, _ = self.network.forward(quant, self.batch(chosen), self.last)
            flat = tensorflow().reshape(scores, (len(chosen), -1))
            loss = tensorflow().reduce_mean(
                tensorflow().nn.sparse_softmax_cross_entropy_with_logits(self.labels[chosen], flat)
            )
        variables = [one.variable.value for one in self.network.trained]
        slopes = tape.gradient(loss, variables)
        pairs = [
            (tensorflow().constant(one.as_graph(slope)), variable)
            for one, slope, variable in zip(self.network.trained, slopes, self.floats, strict=True)
            if slope is not None
        ]
        self.optimizer.apply_gradients(pairs)
        return float(loss)

    def batch(self, chosen: Array) -> dict[str, Array]:
        """Integer inputs of some samples."""
        return {name: array[chosen] for name, array in self.inputs.items()}

    def accuracy(self, quant: QuantGraph) -> float:
        """Share of right answers on the held-out samples, by the reference."""
        output = quant.graph.outputs[0]
        answers = [
            argmax(values[output]) for values in run_batches(quant, self.batch(self.held_out))
        ]
        return float(np.mean(np.concatenate(answers) == self.labels[self.held_out]))

    def result(self) -> FineTuned:
        """The best epoch, its integers in the Keras layers."""
        best, quant = self.best
        self.network.assign(quant)
        return FineTuned(quant, self.network, tuple(self.epochs), best)


def requantize(quant: QuantGraph, values: Mapping[str, Params]) -> QuantGraph:
    """The network with other constants in the formats and limits that it has."""
    formats: dict[str, Any] = quant.formats()
    params: dict[str, Any] = {layer.name: layer.param_formats for layer in quant.nodes}
    return quantize(quant.graph, quant.scheme, formats, params, values, used_bits_of(quant))


def _split(count: int, share: float, random: np.random.Generator) -> tuple[Array, Array]:
    """Indices to train on, and those held out."""
    held = round(count * share)
    if not 0 < held < count:
        raise SamplesError(
            f"of {count} samples {held} would be held out",
            where="--samples",
            fix="give more samples, or another --validation",
        )
    order = random.permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])
