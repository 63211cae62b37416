"""The stages of an export in order: load, passes, calibrate, quantize, lower, plan, render."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mcu_export.backends import backend_of
from mcu_export.budgets import check_model
from mcu_export.calibrate import Ranges, calibrate
from mcu_export.choose import OUTPUT, choose_network
from mcu_export.efforts import EFFORTS
from mcu_export.errors import ModelFileError, SamplesError, UsageError
from mcu_export.evaluate import class_count
from mcu_export.executors import open_executor
from mcu_export.fit import fit
from mcu_export.graph import Graph, check, dump
from mcu_export.loaders import load_network, model_files
from mcu_export.mix_costs import Costs, macs_cost
from mcu_export.mix_search import Mixed, search_mix
from mcu_export.network_file import write_network
from mcu_export.ops import Reshape
from mcu_export.ops.base import Array
from mcu_export.options import Options, check_options
from mcu_export.passes import run_passes
from mcu_export.program import Layout, Program
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize
from mcu_export.reference import quantize_inputs, random_inputs, run_reference
from mcu_export.render import render
from mcu_export.report.manifest import loaded_layers, manifest, manifest_text
from mcu_export.samples import load_labels, load_samples, spread
from mcu_export.schemes.widths import MIXED
from mcu_export.self_test import Golden

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True, eq=False)
class Export:
    """Everything an export made, in its stages; ``files`` is what is written."""

    loaded: Graph
    graph: Graph
    quant: QuantGraph
    program: Program
    layout: Layout
    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]
    dumps: Mapping[str, str] = field(default_factory=dict)


def make_export(
    model: Path,
    samples: str,
    options: Options,
    test_samples: str = "",
    progress: Progress = silent,
) -> Export:
    """Run all stages; nothing is written.

    Args:
        model: the model file.
        samples: calibration samples, ``FILE.npz[:KEY]``.
        options: what the user chose.
        test_samples: where the samples of the self-test come from, if not from ``samples``.
        progress: called with the stage, what is done and the total.

    Raises:
        McuExportError: with the exit code of what went wrong.
    """
    options = check_options(options, model)
    source = _load(model, options)
    _check_computes(source.graph, model)
    _check_labels(options.labels, source.graph)
    inputs = _samples(samples, source.graph, source.given)
    shown = load_samples(test_samples, source.graph.inputs) if test_samples else inputs
    quant, mixed = _quantized(source, inputs, options, progress)
    backend = backend_of(options.backend, options.cmsis_nn_version)
    program, layout = fit(
        quant, backend, options.name, options.labels, options.optimize, options.max_ram
    )
    golden = golden_of(quant, shown, options.test_count)
    rendered = render(program, layout, golden, title(model), options.templates, options.emit)
    content = manifest(quant, program, layout, _manifest_options(options), _model_facts(model))
    content["loaded"] = loaded_layers(source.loaded)
    content |= {"mix": mixed.facts()} if mixed else {}
    check_model(content, options.budgets)
    files = {name: text.encode() for name, text in rendered.files.items()}
    files[f"{options.name}_reference.npz"] = write_network(quant, golden.inputs)
    files[f"{options.name}.json"] = manifest_text(content).encode()
    dumps = {"0_load": dump(source.loaded)} | {
        f"{i}_{name}": dump(after) for i, (name, after) in enumerate(source.passes, 1)
    }
    return Export(source.loaded, source.graph, quant, program, layout, content, files, dumps)


def quantize_model(
    model: Path, samples: str, options: Options, progress: Progress = silent
) -> tuple[QuantGraph, dict[str, Array]]:
    """The stages up to the integer network, and the samples that it was calibrated on.

    Arguments and errors are those of :func:`make_export`.
    """
    options = check_options(options, model)
    source = _load(model, options)
    inputs = _samples(samples, source.graph, source.given)
    quant, _ = _quantized(source, inputs, options, progress)
    return quant, inputs


@dataclass(frozen=True, eq=False)
class _Source:
    """A model file once it is loaded and the passes are done.

    ``given`` is the integer network of a file that is quantized already, or was trained for its
    formats.
    """

    loaded: Graph
    passes: tuple[tuple[str, Graph], ...]
    given: QuantGraph | None

    @property
    def graph(self) -> Graph:
        """The float network after the passes."""
        return self.passes[-1][1] if self.passes else self.loaded


def _load(model: Path, options: Options) -> _Source:
    network = load_network(model, bn_epsilon=options.bn_epsilon)
    if isinstance(network, Graph):
        loaded = check(network, "load")
        source = _Source(loaded, tuple(run_passes(loaded)), None)
        return replace(source, given=_trained(source.graph, model, options))
    if options.scheme not in ("", network.scheme):
        raise UsageError(
            f"the network is quantized already, as {network.scheme}",
            where=f"--scheme {options.scheme}",
            fix="leave the option out, or give the float network",
        )
    return _Source(network.graph, (), network)


def _check_computes(graph: Graph, model: Path) -> None:
    if all(isinstance(node.op, Reshape) for node in graph.nodes):
        raise ModelFileError(
            "the network has no layer that computes",
            where=str(model),
            fix="give the file with the layers; `mcu-export inspect` shows what was loaded",
        )


def _trained(graph: Graph, model: Path, options: Options) -> QuantGraph | None:
    """The integers that a network was trained for, unless other formats are asked for."""
    trained = graph.trained
    if trained is None or options.calibration or options.scheme not in ("", trained.scheme):
        return None
    missing = [name for name in graph.shapes() if name not in trained.activations]
    missing += [n.name for n in graph.nodes if set(n.params) - set(trained.params.get(n.name, ()))]
    if missing:
        raise ModelFileError(
            f"the file has no trained format for {missing[0]!r}",
            where=str(model),
            fix="name another --calibration, such as output, to choose formats anew",
        )
    return quantize(
        graph, trained.scheme, trained.activations, trained.params, used_bits=trained.used_bits
    )


def _quantized(
    source: _Source, samples: Mapping[str, Array], options: Options, progress: Progress
) -> tuple[QuantGraph, Mixed | None]:
    """Calibrate and quantize, unless the file is quantized already."""
    count, wanted = len(next(iter(samples.values()))), options.sample_labels
    if source.given is not None:
        if wanted:
            raise UsageError(
                "labels are for choosing formats, and the file has its own",
                where=f"--sample-labels {wanted}",
                fix="leave them out; --calibration output replaces what finetune wrote",
            )
        return source.given, None
    scheme = options.scheme or "q7"
    # Integers are real values here, too; each stage takes what it needs as floats.
    ranges = calibrate(source.graph, samples, lambda n: progress("calibrate", n, count))
    calibration = options.calibration or OUTPUT
    labels = load_labels(wanted, count, class_count(source.graph)) if wanted else None
    if scheme == MIXED and calibration == OUTPUT:
        formats_progress = partial(progress, "formats")
        mixed = _mixed(source.graph, ranges, samples, labels, options, formats_progress)
        return mixed.quant, mixed
    quant = choose_network(
        source.graph,
        ranges,
        samples,
        scheme,
        calibration,
        options.effort,
        partial(progress, "formats"),
        labels,
    )
    return quant, None


def _mixed(
    graph: Graph,
    ranges: Ranges,
    samples: Mapping[str, Array],
    labels: Array | None,
    options: Options,
    progress: Callable[[int, int], None],
) -> Mixed:
    """The best mix of widths within the limits of the options."""
    backend = backend_of(options.backend, options.cmsis_nn_version)

    def cost_of(quant: QuantGraph) -> Costs:
        program, layout = fit(
            quant, backend, options.name, optimize=options.optimize, max_ram=options.max_ram
        )
        flash = sum(step.weight_bytes for step in program.steps)
        return Costs(flash, layout.arena_bytes, macs_cost(quant))

    effort = EFFORTS[options.effort]
    with open_executor(options.executor) as executor:
        return search_mix(
            graph, ranges, samples, effort, cost_of, options.limits, labels, executor, progress
        )


def _check_labels(labels: tuple[str, ...], graph: Graph) -> None:
    """Whether there is one label per element of the first output, or none at all."""
    count = class_count(graph)
    if labels and len(labels) != count:
        raise UsageError(
            f"there are {len(labels)} labels for {count} outputs",
            where="--labels",
            fix="give one label per output, a line each",
        )


def _samples(samples: str, graph: Graph, given: QuantGraph | None) -> dict[str, Array]:
    """Calibration samples; a quantized network needs none, its self-test is then random."""
    if samples:
        return load_samples(samples, graph.inputs)
    if given is not None:
        drawn = random_inputs(given)
        return {name: x.astype(given.input_formats[name].dtype) for name, x in drawn.items()}
    raise SamplesError(
        "there are no calibration samples",
        where="--samples",
        fix="give about 100 typical inputs: --samples FILE.npz[:KEY]",
    )


def golden_of(quant: QuantGraph, samples: Mapping[str, Array], count: int) -> Golden:
    """Integers of the self-test: ``count`` samples spread over those given."""
    chosen = spread(len(next(iter(samples.values()))), max(1, count))
    integers = quantize_inputs(quant, {name: a[chosen] for name, a in samples.items()})
    return Golden(integers, run_reference(quant, integers))


def title(model: Path) -> str:
    """How generated files speak of the model."""
    return model.name


def _model_facts(model: Path) -> dict[str, Any]:
    """Name of the model, and a digest over all of its files."""
    digest = hashlib.sha256()
    for file in model_files(model):
        digest.update(file.read_bytes())
    return {"file": model.name, "sha256": digest.hexdigest()}


def _manifest_options(options: Options) -> dict[str, Any]:
    """The options that change the result."""
    mixed = options.scheme == MIXED
    return {
        "calibration": options.calibration or OUTPUT,
        "effort": options.effort,
        "optimize": options.optimize,
        "bn_epsilon": options.bn_epsilon,
        "test_count": options.test_count,
        **({f"max_{name}": most for name, most in vars(options.limits).items()} if mixed else {}),
    }
