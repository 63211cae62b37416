"""Keras as the oracle of its loader: random weights, both file formats, outputs compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from mcu_export.graph import Graph, run_float
from mcu_export.loaders.keras.model import load_keras

TOLERANCE = 2e-5  # of the largest output; float32 sums in another order
SAMPLES = 3


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every weight random values; variances are positive, everything else has both signs."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.rpartition("/")[2] in ("mean", "variance", "count"):
            continue  # Normalization computes from copies that it made when it was adapted
        if "variance" in weight.path:
            values = random.uniform(0.2, 2.0, weight.shape)
        else:
            values = random.standard_normal(weight.shape) * 0.6
        weight.assign(values.astype(np.float32))
    return model


def samples_of(graph: Graph, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        tensor.name: random.standard_normal((SAMPLES, *tensor.shape)).astype(np.float32)
        for tensor in graph.inputs
    }


def outputs_of(graph: Graph, samples: dict[str, np.ndarray]) -> list[np.ndarray]:
    values = run_float(graph, samples)
    return [values[name] for name in graph.outputs]


def assert_same(got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(got) == len(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape
        largest = np.abs(theirs).max()
        assert largest > 1e-3, "an output of zeros shows nothing"
        assert np.abs(ours - theirs).max() <= TOLERANCE * largest


def as_list(value: Any) -> list[np.ndarray]:
    values = value if isinstance(value, list | tuple) else [value]
    return [np.asarray(one) for one in values]


def check_formats(model: keras.Model, folder: Path, *formats: str) -> Graph:
    """Save in each format, load, compare with what Keras computes; returns the last graph."""
    for suffix in formats or (".keras", ".h5"):
        path = folder / f"network{suffix}"
        model.save(path)
        graph = load_keras(path)
        samples = samples_of(graph)
        given = list(samples.values())
        wanted = as_list(model(given if len(given) > 1 else given[0], training=False))
        assert_same(outputs_of(graph, samples), wanted)
    return graph


def sequential(shape: tuple[int, ...], *layers: keras.layers.Layer) -> keras.Model:
    return randomize(keras.Sequential([keras.Input(shape), *layers]))


# --- files as old versions of Keras wrote them ------------------------------------------------


def write_h5(
    path: Path,
    config: dict[str, Any],
    weights: dict[str, dict[str, np.ndarray]],
    version: str = "2.2.4",
) -> Path:
    """An ``.h5`` file: for each layer of ``weights`` its arrays by name, in order."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = np.asarray([name.encode() for name in arrays], "S99")
            for name, array in arrays.items():
                group[name] = array
    return path


def layer_config(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """A layer of a Sequential model."""
    return {"class_name": class_name, "config": {"name": name, **config}}


def node(class_name: str, name: str, inbound: list[Any], **config: Any) -> dict[str, Any]:
    """A layer of a functional model of Keras 1 or 2."""
    return {**layer_config(class_name, name, **config), "name": name, "inbound_nodes": inbound}


def functional(
    layers: list[dict[str, Any]], inputs: list[Any], outputs: list[Any], class_name: str = "Model"
) -> dict[str, Any]:
    config = {"name": "net", "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": class_name, "config": config}
