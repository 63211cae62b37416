"""Audio front ends: the network starts behind them; their parameters are kept.

``DecodeWav`` -> ``AudioSpectrogram`` -> ``Mfcc`` is what the speech commands tutorial and
ML-KWS-for-MCU put before their networks. No microcontroller runs these ops; firmware computes the
features itself and needs to know how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mcu_export.loaders.tf.importer import Handler, Importer
from mcu_export.loaders.tf.nodes import TfNode, owner
from mcu_export.loaders.tf.values import FullShape, Result

FEATURE_OPS = ("Mfcc", "AudioSpectrogram")

# Defaults from the ops' registrations; -1 is "not fixed".
_PARAMETERS: dict[str, dict[str, Callable[[TfNode], Any]]] = {
    "Mfcc": {
        "dct_coefficient_count": lambda n: n.integer("dct_coefficient_count", 13),
        "filterbank_channel_count": lambda n: n.integer("filterbank_channel_count", 40),
        "lower_frequency_limit": lambda n: n.number("lower_frequency_limit", 20.0),
        "upper_frequency_limit": lambda n: n.number("upper_frequency_limit", 4000.0),
    },
    "AudioSpectrogram": {
        "window_size": lambda n: n.integer("window_size", 0),
        "stride": lambda n: n.integer("stride", 0),
        "magnitude_squared": lambda n: n.flag("magnitude_squared", False),
    },
    "DecodeWav": {
        "desired_channels": lambda n: n.integer("desired_channels", -1),
        "desired_samples": lambda n: n.integer("desired_samples", -1),
    },
}


def features(nodes: Mapping[str, TfNode]) -> Handler:
    """The handler that makes the features, not the sound, the input of the network."""

    def handler(importer: Importer, node: TfNode, inputs: Sequence[Result]) -> Result:
        return importer.input(node, _feature_shape(parameters(nodes, node)))

    return handler


def front_end(nodes: Mapping[str, TfNode], order: Iterable[TfNode]) -> dict[str, Any]:
    """Parameters of the front end that the network in ``order`` starts behind; {} without one."""
    for node in order:
        if node.op in FEATURE_OPS:
            return parameters(nodes, node)
    return {}


def parameters(nodes: Mapping[str, TfNode], last: TfNode) -> dict[str, Any]:
    """What ``last`` and the ops before it compute, with the names of the ops' attributes.

    ``sample_rate`` is None where it is read from the sound itself.
    """
    found: dict[str, Any] = {"features": last.op, "sample_rate": None}
    pending, seen = [last.name], set()
    while pending:
        node = nodes[pending.pop()]
        if node.name in seen:
            continue
        seen.add(node.name)
        for key, read in _PARAMETERS.get(node.op, {}).items():
            found.setdefault(key, read(node))
        if node.op == "Mfcc" and len(node.inputs) == 2:
            rate = nodes[owner(node.inputs[1])]
            value = rate.tensor("value") if rate.op == "Const" else np.zeros(0)
            found["sample_rate"] = int(value.item()) if value.size == 1 else None
        pending += [owner(tensor) for tensor in node.inputs]
    return found


def _feature_shape(found: Mapping[str, Any]) -> FullShape | None:
    """(1, frames, coefficients); None where the length of the sound is not fixed."""
    samples, window, stride = (
        found.get(key, -1) for key in ("desired_samples", "window_size", "stride")
    )
    if min(samples, window, stride) < 1 or samples < window:
        return None
    bins = (1 << (window - 1).bit_length()) // 2 + 1
    coefficients = found["dct_coefficient_count"] if found["features"] == "Mfcc" else bins
    return 1, 1 + (samples - window) // stride, coefficients
