"""What a classifier's softmax reads, and the format that suits it.

Outputs are compared before a softmax, which hides errors of confident answers. But a distance
counts a logit of -20 as much as one of 20, and a softmax makes nothing of it: those of unlikely
classes may saturate. The step of 8 bits then becomes finer, and fewer close classes change places.
With the formats of least distance the rounding of the logits alone changes 1 to 4 % of the answers
of the speech networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcu_export.graph import Graph
from mcu_export.ops import Array, Clamp, MaxPool2D, Op, Reshape, Softmax
from mcu_export.schemes.formats import PowerOfTwo

# Frac bits above the given ones that are tried.
EXTRA_FRAC_BITS = 4
# In one sample of so many the largest logit may saturate: an answer beyond doubt, mostly.
RARE = 100
# Layers whose output has the format of their input.
KEEPS_FORMAT: tuple[type[Op], ...] = (Clamp, MaxPool2D, Reshape)


def before_softmax(graph: Graph, name: str) -> str:
    """The value to compare for an output: what a softmax at the end reads, else the output."""
    names = {node.name: node for node in graph.nodes}
    node = names.get(name)
    return node.inputs[0] if node is not None and isinstance(node.op, Softmax) else name


@dataclass(frozen=True)
class Logits:
    """The logits of a classifier.

    Attributes:
        name: of their value.
        maker: the layer that decides their format.
        softmax: that makes probabilities of them.
    """

    name: str
    maker: str
    softmax: Softmax


def logits_of(graph: Graph) -> Logits | None:
    """The logits of a network that ends in a softmax, or whose file does; else None.

    None, too, with several outputs: there somebody may need the numbers. With one, nothing else can
    read them.
    """
    if len(graph.outputs) != 1:
        return None
    (output,) = graph.outputs
    nodes = {node.name: node for node in graph.nodes}
    name = before_softmax(graph, output)
    if name == output and not graph.details.get("dropped_softmax", False):
        return None
    maker = name
    while maker in nodes:
        if not isinstance(nodes[maker].op, KEEPS_FORMAT):
            op = nodes[output].op
            return Logits(name, maker, op if isinstance(op, Softmax) else Softmax())
        maker = nodes[maker].inputs[0]
    return None


def finest(logits: Array, fmt: PowerOfTwo, softmax: Softmax) -> PowerOfTwo:
    """``fmt`` with as many more frac bits as make probabilities err least.

    Args:
        logits: in float, (..., classes).
        fmt: the format to start from.
        softmax: what makes probabilities of them.
    """
    real, largest = softmax.compute([logits], {}), logits.max(axis=-1)
    best, least = fmt, np.inf
    for extra in range(EXTRA_FRAC_BITS + 1):
        tried = replace(fmt, frac_bits=fmt.frac_bits + extra)
        if extra and np.mean(largest > tried.dequantize(np.array(tried.highest))) > 1 / RARE:
            break
        stored = tried.dequantize(tried.quantize(logits)).astype(np.float32)
        error = float(np.abs(softmax.compute([stored], {}) - real).sum(axis=-1).mean())
        if error < least:
            best, least = tried, error
    return best
