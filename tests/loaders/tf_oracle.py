"""TensorFlow as the oracle of its loaders: builds small graphs, runs and freezes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mcu_export.graph import Graph, run_float

tf1 = tf.compat.v1
TOLERANCE = 1e-4  # of the largest output; float32 sums in another order


@dataclass(frozen=True)
class Built:
    """A frozen graph on disk, samples for it, and what TensorFlow computes for them."""

    path: Path
    samples: np.ndarray
    outputs: np.ndarray


def weights(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray:
    random = np.random.default_rng([seed, *shape])
    return (random.standard_normal(shape) * scale).astype(np.float32)


def samples_of(shape: tuple[int | None, ...], count: int = 4) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((count, *shape[1:])).astype(np.float32)


def freeze(
    folder: Path,
    build: Callable[[Any], Any],
    shape: tuple[int | None, ...] = (None, 9, 8, 3),
    feed: dict[str, Any] | None = None,
) -> Built:
    """Build ``build(placeholder)`` in a graph, run it, and write it frozen."""
    with tf.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, shape, name="features")
        y = tf.identity(build(x), name="result")
        samples = samples_of(shape)
        feeds = {x: samples} | {graph.get_tensor_by_name(k): v for k, v in (feed or {}).items()}
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            outputs = session.run(y, feeds)
            frozen = tf1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["result"]
            )
    path = folder / "network.pb"
    path.write_bytes(frozen.SerializeToString())
    return Built(path, samples, outputs)


def run(graph: Graph, samples: np.ndarray) -> np.ndarray:
    """The first output of our graph for samples in any shape with these elements."""
    (tensor,) = graph.inputs
    values = run_float(graph, {tensor.name: samples.reshape(len(samples), *tensor.shape)})
    return values[graph.outputs[0]]


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.size == theirs.size
    limit = TOLERANCE * float(np.max(np.abs(theirs)))
    assert limit > 0
    assert float(np.max(np.abs(ours.reshape(theirs.shape) - theirs))) <= limit
