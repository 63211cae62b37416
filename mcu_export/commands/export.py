"""``mcu-export export``: from a model file, or from a configuration of several, to C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mcu_export.commands.common import (
    FOLDER,
    common_options,
    offered,
    print_json,
    print_table,
    progress_bar,
)
from mcu_export.commands.export_config import (
    DEFAULT_CONFIG,
    costs_text,
    export_config,
    refuse_others,
)
from mcu_export.errors import UsageError


@click.command("export")
@click.argument("arguments", metavar="MODEL | [NAME...]", nargs=-1)
@click.option("-o", "--output", "folder", type=FOLDER, help="Folder to write to.")
@click.option(
    "--config",
    is_flag=False,
    flag_value=DEFAULT_CONFIG,
    metavar="[FILE.toml]",
    help=f"Export the models of a configuration, default {DEFAULT_CONFIG}: all, or those named.",
)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="With --config.")
@click.option("--name", default="", help="C name, prefix of all symbols; default: the file's.")
@click.option(
    "--samples",
    default="",
    metavar="F.npz[:KEY]",
    help="Calibration samples, first axis samples; a part as in F.npz:mfcc[:,:,:10].",
)
@click.option(
    "--scheme",
    default="",
    show_default="q7, or that of a quantized file",
    shell_complete=offered("scheme"),
    help="See `mcu-export list schemes`.",
)
@click.option(
    "--backend",
    default="plain-c",
    show_default=True,
    shell_complete=offered("backend"),
    help="See `mcu-export list backends`.",
)
@click.option(
    "--cmsis-nn-version",
    default="",
    metavar="X.Y.Z",
    show_default="the newest",
    help="Release of CMSIS-NN that --backend cmsis-nn calls, from 4.0.0 on.",
)
@click.option(
    "--calibration",
    default="",
    show_default="output",
    shell_complete=offered("calibration"),
    help="How formats follow from samples: output (by what they do to the output), mse, minmax, "
    "percentile, kl.",
)
@click.option(
    "--effort",
    default="fast",
    shell_complete=offered("effort"),
    show_default=True,
    help="How long --calibration output searches frac bits: fast, good or best.",
)
@click.option(
    "--optimize",
    default="speed",
    shell_complete=offered("optimize"),
    show_default=True,
    help="What gcc does to the kernels, whatever the firmware's flags: speed (-O3), balanced "
    "(-O2: half the code, little slower) or size (-Os). fastest is -O3 with 3x3 convolutions by "
    "Winograd's algorithm: half the instructions, 3.6 times the flash for their weights.",
)
@click.option("--bn-epsilon", type=float, help="Epsilon of every batch norm, not the file's own.")
@click.option("--labels", "labels_file", type=FOLDER, help="Text file, one label per line.")
@click.option("--test-samples", default="", help="Samples of the self-test; default: --samples.")
@click.option("--test-count", default=4, show_default=True, help="Samples in the self-test.")
@click.option(
    "--max-flash",
    type=int,
    metavar="BYTES",
    help="Fail if constants and code need more; the search of --scheme mixed counts constants.",
)
@click.option(
    "--max-ram",
    type=int,
    metavar="BYTES",
    help="Take the fastest kernels whose arena fits, or fail.",
)
@click.option("--max-stack", type=int, metavar="BYTES", help="Fail if the stack gets deeper.")
@click.option("--max-instructions", type=int, metavar="N", help="Fail if an inference takes more.")
@click.option(
    "--max-macs-cost",
    type=int,
    metavar="N",
    help="Of mixed: MACs, 16 x 8 bits twice, 16 x 16 four times.",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Of mixed: accuracy that may be lost on --samples.",
)
@click.option(
    "--sample-labels",
    default="",
    metavar="F.npz:KEY",
    help="Classes of --samples, for the input's format (q7) and --max-drop.",
)
@click.option(
    "--executor",
    default="",
    metavar="KIND",
    help="Search mixed side by side on threads[:N], processes[:N] or dask[:ADDRESS].",
)
@click.option(
    "--board",
    default="",
    shell_complete=offered("board"),
    help="Where that is measured; default: mps2-an386.",
)
@click.option("--templates", default="", metavar="DIR", help="Your templates, in place of ours.")
@click.option(
    "--emit",
    multiple=True,
    metavar="KIND",
    shell_complete=offered("emit"),
    help="Also files for another build; see `mcu-export list emit`.",
)
@click.option("--depfile", type=FOLDER, help="Write what the export depends on, for make.")
@click.option("--depfile-target", default="", help="Target in the depfile; default: the C file.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 9 if files would change.")
@click.option("--dump", "dump_folder", type=FOLDER, help="Write the graph after each stage there.")
@common_options
@click.pass_context
def command(context: click.Context, /, arguments: tuple[str, ...], **given: Any) -> None:
    """Write the C that runs MODEL: weights, kernels, self-test, manifest.

    MODEL is a .keras, .h5, frozen TensorFlow .pb or .tflite file, a checkpoint or the folder of a
    SavedModel. Files are written only if they change, and all of them or none.

    With --config, all models of a configuration are exported in parallel, or those NAMEd.
    """
    if given["config"]:
        refuse_others(context)
        export_config(arguments, given)
        return
    if len(arguments) != 1:
        raise UsageError(
            "one model file is exported at a time" if arguments else "there is no model file",
            where="MODEL",
            fix="mcu-export export net.keras -o build/net, or --config for several",
        )
    if given["folder"] is None:
        raise UsageError("there is no folder to write to", where="-o", fix="add -o build/net")
    _export_model(Path(arguments[0]), given)


def _export_model(model: Path, given: dict[str, Any]) -> None:
    from mcu_export.api import Sources, export_files  # noqa: PLC0415 -- numpy and jinja2

    options = dict(given)
    for key in ("config", "jobs"):
        options.pop(key)
    sources = Sources(
        model, options.pop("samples"), options.pop("test_samples"), options.pop("labels_file")
    )
    folder, as_json, check = options.pop("folder"), options.pop("as_json"), options.pop("check")
    depfile, target = options.pop("depfile"), options.pop("depfile_target")
    dump_folder = options.pop("dump_folder")
    with progress_bar(as_json) as progress:
        made, written = export_files(
            sources,
            folder,
            options,
            depfile=(depfile, target) if depfile else None,
            check_only=check,
            dump_folder=dump_folder,
            progress=progress,
        )
    if as_json:
        print_json(made.manifest)
        return
    _print_folds(made.manifest)
    _print_layers(made.manifest)
    _print_front(made.manifest)
    click.echo(f"\n{costs_text(made.manifest)}")
    if check:
        click.echo(f"up to date: {folder}")
    else:
        done = ", ".join(written.changed) or "nothing, all files are up to date"
        click.echo(f"written to {folder}: {done}")


def _print_folds(manifest: Any) -> None:
    for fold in manifest["folds"]:
        click.echo(
            f"folded {fold['batch_norm']} into {fold['into']}, epsilon {fold['epsilon']:g}: "
            f"largest output difference {fold['difference']:.1e} of the largest output"
        )


def _print_layers(manifest: Any) -> None:
    rows = [
        (
            layer["name"],
            layer["op"],
            "x".join(map(str, layer["shape"])),
            layer["macs"],
            layer["weight_bytes"],
            widths_text(layer),
            layer["format"],
            layer.get("bias_shift"),
            layer.get("out_shift"),
            _bits(layer["accumulator_bound"]),
            layer["kernel"],
        )
        for layer in manifest["layers"]
    ]
    columns = [
        "layer",
        "op",
        "output",
        "MACs#",
        "weights#",
        "bits",
        "format",
        "bias shift#",
        "out shift#",
        "acc bits#",
        "kernel",
    ]
    title = f"{manifest['name']}: {manifest['scheme']}, {manifest['backend']}"
    print_table(title, columns, rows)


def widths_text(layer: Any) -> str:
    """``16 x 8 -> 16``: bits of inputs, of weights, of the output."""
    read = "/".join(str(bits) for bits in dict.fromkeys(layer["input_bits"]))
    weights = f" x {layer['weights_bits']}" if "weights_bits" in layer else ""
    return f"{read}{weights} -> {layer['output_bits']}"


def _print_front(manifest: Any) -> None:
    """The mixes of widths that were measured, the least error first."""
    if "mix" not in manifest:
        return
    rows = [
        (
            f"{100 * point['error']:.2f} %",
            point["flash"],
            point["ram"],
            point["macs_cost"],
            len(point["wide_values"]),
            len(point["wide_layers"]),
            "exported" if point["exported"] else "",
        )
        for point in manifest["mix"]["front"]
    ]
    columns = [
        "error#",
        "flash#",
        "RAM#",
        "MACs cost#",
        "16-bit activations#",
        "16-bit weights#",
        "",
    ]
    error = 100 * manifest["mix"]["error"]
    print_table(f"\nmixes of 8 and 16 bits; refined, the error is {error:.2f} %", columns, rows)


def _bits(bound: int | None) -> int | None:
    """Bits that the accumulator needs at most, sign included; it has 32."""
    return None if bound is None else bound.bit_length() + 1
