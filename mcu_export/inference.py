"""``mcu-export run``: outputs of the integer network for samples, as arrays and as a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mcu_export.calibrate import batches
from mcu_export.errors import UsageError
from mcu_export.ops.base import Array
from mcu_export.quantgraph import QuantGraph
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.write import write_files


def run_samples(
    quant: QuantGraph,
    samples: Mapping[str, Array],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Array]:
    """Every output for all samples: integers of its own type, and real values.

    Keys are ``output`` and ``output_real``; with several outputs ``output.NAME`` and
    ``output_real.NAME``.
    """
    formats = quant.formats()
    parts: dict[str, list[Array]] = {name: [] for name in quant.graph.outputs}
    done = 0
    for batch in batches(quant.graph, samples):
        values = run_reference(quant, quantize_inputs(quant, batch))
        for name, collected in parts.items():
            collected.append(values[name].astype(formats[name].dtype))
        done += len(next(iter(batch.values())))
        progress(done)
    made: dict[str, Array] = {}
    for name, collected in parts.items():
        suffix = "" if len(parts) == 1 else f".{name}"
        integers = np.concatenate(collected)
        made[f"output{suffix}"] = integers
        made[f"output_real{suffix}"] = formats[name].dequantize(integers).astype(np.float32)
    return made


def save_outputs(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write the arrays to a ``.npz`` file, complete or not at all.

    Raises:
        UsageError: the name does not end with ``.npz``.
    """
    if path.suffix != ".npz":
        raise UsageError(f"{path} is not the name of an .npz file", where="--output")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_files(path.parent, {path.name: buffer.getvalue()})
