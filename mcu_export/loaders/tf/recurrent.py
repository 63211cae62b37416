"""Recurrent layers are not supported: says so where a graph has one."""

from __future__ import annotations

from collections.abc import Collection

from mcu_export.loaders.tf.nodes import TfGraph, owner
from mcu_export.loaders.tf.values import unsupported

# A loop of TensorFlow 1 or 2, or a fused cell: how recurrent layers appear in a graph.
RECURRENT_OPS = frozenset(
    {
        "Enter",
        "RefEnter",
        "Exit",
        "RefExit",
        "NextIteration",
        "RefNextIteration",
        "LoopCond",
        "While",
        "StatelessWhile",
        "TensorArrayV3",
        "TensorArrayReadV3",
        "TensorArrayWriteV3",
        "TensorArrayGatherV3",
        "TensorArrayScatterV3",
        "TensorListReserve",
        "TensorListStack",
        "TensorListFromTensor",
        "BlockLSTM",
        "BlockLSTMV2",
        "LSTMBlockCell",
        "GRUBlockCell",
        "CudnnRNN",
        "CudnnRNNV2",
        "CudnnRNNV3",
    }
)


def reject_recurrent(graph: TfGraph, given: Collection[str]) -> None:
    """An error that names the first recurrent op that the outputs need, and its scope.

    Args:
        graph: the graph; it may have cycles.
        given: ops and tensors that nobody looks behind.
    """
    pending, seen = [owner(tensor) for tensor in graph.outputs], set()
    while pending:
        node = graph.nodes[pending.pop()]
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.op in RECURRENT_OPS:
            scope = node.name.rpartition("/")[0] or node.name
            raise unsupported(
                node,
                f"the op {node.op} in {scope!r} belongs to a loop over time steps; "
                "recurrent layers are not supported",
                "use a network without LSTM, GRU or other loops",
            )
        if node.op not in given and f"{node.name}:0" not in given:
            pending += [owner(tensor) for tensor in node.inputs]
