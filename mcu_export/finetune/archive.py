"""Writing the trained network: a ``.keras`` file with the formats that it was trained for."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from mcu_export.errors import InternalError, UsageError
from mcu_export.finetune.train import FineTuned
from mcu_export.graph import Graph
from mcu_export.loaders import load
from mcu_export.passes import run_passes
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import used_bits_of
from mcu_export.trained_formats import MEMBER, TrainedFormats, formats_text
from mcu_export.write import write_files


def check_name(path: Path) -> Path:
    """The path, if Keras can save under such a name.

    Raises:
        UsageError: it does not end with ``.keras``.
    """
    if path.suffix != ".keras":
        raise UsageError(f"{path} is not the name of a .keras file", where="-o")
    return path


def save_keras(made: FineTuned, path: Path) -> None:
    """Write the network, complete or not at all.

    Raises:
        InternalError: the file would not export to the integers that were trained.
    """
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "network.keras"
        made.network.model().save(draft)
        *_, (_, graph) = run_passes(load(draft))
        formats = _renamed(made.quant, graph)
        with zipfile.ZipFile(draft, "a") as archive:
            archive.writestr(MEMBER, formats_text(formats))
        write_files(path.parent, {path.name: draft.read_bytes()})


def _renamed(quant: QuantGraph, graph: Graph) -> TrainedFormats:
    """The formats of the network by the names that it has in the file, in the same order."""
    before = [(type(node.op), node.shape) for node in quant.graph.nodes]
    after = [(type(node.op), node.shape) for node in graph.nodes]
    if before != after:
        raise InternalError("the saved network has other layers", where=MEMBER)
    inputs = zip(graph.inputs, quant.graph.inputs, strict=True)
    layers = list(zip(graph.nodes, quant.nodes, strict=True))
    used = used_bits_of(quant)
    return TrainedFormats(
        quant.scheme,
        {new.name: quant.input_formats[old.name] for new, old in inputs}
        | {new.name: old.format for new, old in layers},
        {new.name: old.param_formats for new, old in layers},
        {new.name: used[old.name] for new, old in layers if old.name in used},
    )
