"""Where a network ends in a graph that does not say it."""

from __future__ import annotations

from collections.abc import Iterable

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.nodes import TfGraph, ancestors, owner
from mcu_export.loaders.tf.settings import INPUT_OPS

# Never an output of the network, though nobody reads them.
_NO_OUTPUT_OPS = frozenset({"NoOp", "Assert", "Print", "PrintV2", "Shape", "Rank", "Size"})
# What a network's own output goes through on its way to a decision.
_DECISIONS = frozenset({"ArgMax", "TopK", "TopKV2"})
_PASSING = frozenset({"Identity", "Cast", "Reshape"})
_MAX_PASSING = 64
# Ops of a training graph that read logits, the most telling first; input 0 is the logits.
_LOGIT_READERS = (
    frozenset({"SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits"}),
    frozenset({"Softmax", "LogSoftmax"}),
    _DECISIONS,
)


def last_tensors(graph: TfGraph) -> tuple[str, ...]:
    """What depends on an input and is read by nobody; of an ArgMax, what it reads.

    Raises:
        ModelFileError: there is no such tensor.
    """
    nodes = graph.nodes
    read = {owner(tensor) for node in nodes.values() for tensor in node.inputs}
    computed = _depend_on_input(graph)
    outputs = []
    for node in nodes.values():
        if node.name in read or node.name not in computed or node.op in _NO_OUTPUT_OPS:
            continue
        tensor = f"{node.name}:0"
        before = _through(graph, tensor, _PASSING)
        decision = nodes[owner(before)]
        outputs.append(decision.inputs[0] if decision.op in _DECISIONS else tensor)
    if not outputs:
        raise ModelFileError(
            "the graph has no output that depends on an input",
            where=graph.source,
            fix="freeze the graph with its Placeholder and its last layer",
        )
    return tuple(dict.fromkeys(outputs))


def logits(graph: TfGraph, variables: Iterable[str]) -> str:
    """The logits of a training graph: what its loss, its Softmax or its ArgMax reads.

    Of several, such as the auxiliary outputs of some networks, the one that needs most variables.

    Raises:
        ModelFileError: there is none.
    """
    trained = frozenset(owner(tensor) for tensor in variables)
    for ops in _LOGIT_READERS:
        tensors = [
            node.inputs[0] for node in graph.nodes.values() if node.op in ops and node.inputs
        ]
        found = {
            tensor: len(trained & ancestors(graph.nodes, [tensor]).keys()) for tensor in tensors
        }
        best = max(found, key=lambda tensor: found[tensor], default=None)
        if best is not None and found[best]:
            return _through(graph, best, _PASSING)
    raise ModelFileError(
        "the graph does not show where the network ends",
        where=graph.source,
        fix="freeze the graph up to its last layer and export the .pb file",
    )


def _through(graph: TfGraph, tensor: str, ops: frozenset[str]) -> str:
    """The tensor before a row of such ops."""
    for _ in range(_MAX_PASSING):
        node = graph.nodes[owner(tensor)]
        if node.op not in ops or not node.inputs:
            break
        tensor = node.inputs[0]
    return tensor


def _depend_on_input(graph: TfGraph) -> set[str]:
    readers: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for node in graph.nodes.values():
        for tensor in node.inputs:
            readers[owner(tensor)].append(node.name)
    pending = [node.name for node in graph.nodes.values() if node.op in INPUT_OPS]
    found: set[str] = set()
    while pending:
        for name in readers[pending.pop()]:
            if name not in found:
                found.add(name)
                pending.append(name)
    return found
