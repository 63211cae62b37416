"""``mcu-export verify``: the C, compiled and run, against the reference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcu_export.commands.common import (
    FOLDER,
    common_options,
    offered,
    print_json,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from mcu_export.build import Target
    from mcu_export.exported import Exported
    from mcu_export.verify import Verdict

DEFAULT_BOARD = "mps2-an386"
EXPORT_AGAIN = "export again with this version of mcu-export; if it stays, report it as a bug"


@click.command("verify")
@click.argument("folder", type=FOLDER)
@click.option("--on", metavar="host|qemu|serial:DEVICE", help="Default: host.")
@click.option("--baud", default=115200, show_default=True, help="Of the serial line.")
@click.option("--layers", is_flag=True, help="A table of all layers; on host and in QEMU.")
@click.option(
    "--board",
    default="",
    shell_complete=offered("board"),
    help=f"Board in QEMU; default: {DEFAULT_BOARD}.",
)
@click.option("--core", default="", help="Core, where a board can run code for several.")
@click.option("--cc", default="", help="Compiler on the host; default: cc.")
@click.option("--sanitize", is_flag=True, help="On the host: address and UB sanitizers.")
@click.option("--optimize", default="-O3", show_default=True, help="Optimization of the compiler.")
@click.option(
    "--samples", default="", metavar="F.npz[:KEY]", help="Default: the self-test's, and random."
)
@click.option("--count", type=click.IntRange(1), help="At most this many samples, evenly spread.")
@click.option("--name", default="", help="Which export, where the folder holds several.")
@common_options
def command(
    folder: Path,
    on: str | None,
    baud: int,
    layers: bool,
    board: str,
    core: str,
    cc: str,
    sanitize: bool,
    optimize: str,
    samples: str,
    count: int | None,
    name: str,
    as_json: bool,
) -> None:
    """Compile the export in FOLDER, run it, compare every layer with the reference.

    Ends with code 7 and the first difference if one byte differs. What QEMU measures is kept in
    NAME_measured.json, for `compare` and `report`.
    """
    from mcu_export.build import Target  # noqa: PLC0415
    from mcu_export.errors import UsageError  # noqa: PLC0415
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.serial_board import verify_serial  # noqa: PLC0415
    from mcu_export.verify import choose_inputs, verify  # noqa: PLC0415

    device = on.removeprefix("serial:") if on and on.startswith("serial:") else ""
    if on not in (None, "host", "qemu") and not device:
        fix = "use host, qemu or serial:/dev/tty..."
        raise UsageError(f"{on!r} is no place to run it", where="--on", fix=fix)
    if device and (layers or board):
        raise UsageError("a board on a serial line takes no --layers or --board", where="--on")
    if board and on != "qemu" and (on == "host" or not layers):
        raise UsageError("a board is emulated", where="--board", fix="add --on qemu")
    exported = open_export(folder, name)
    inputs = choose_inputs(exported, samples, count)
    host = Target("host", "", cc, sanitize, optimize)
    emulated = Target(board or DEFAULT_BOARD, core, "", False, optimize)
    if layers:
        chosen = [t for t in (host, emulated) if on in (None, t.on)]
        _verify_layers(exported, inputs, chosen, as_json)
        return
    target = emulated if on == "qemu" else host
    with progress_bar(as_json) as progress:
        total = len(next(iter(inputs.values())))

        def show(done: int) -> None:
            progress("compare", done, total)

        if device:
            verdict, damaged = verify_serial(exported, inputs, device, baud, show)
            if damaged:
                click.echo(f"note: {damaged} lines came damaged and were sent again", err=True)
        else:
            verdict = verify(exported, inputs, target, show)
    _tell(verdict, as_json)
    if not device:
        _remember(exported, target, verdict)


def _tell(verdict: Verdict, as_json: bool) -> None:
    """Print the verdict; end with its code where something differs."""
    from mcu_export.errors import VerificationError  # noqa: PLC0415

    if as_json:
        print_json(asdict(verdict))
    else:
        _print(verdict)
    if verdict.first_difference:
        raise VerificationError(
            f"{verdict.mismatches} of {verdict.outputs_compared} integers differ",
            where=verdict.first_difference.text(),
            fix=EXPORT_AGAIN,
        )


def _remember(exported: Exported, target: Target, verdict: Verdict) -> None:
    """Keep what a board measured beside the export, for `compare` and `report`."""
    from mcu_export.measured import Measured, write_measured  # noqa: PLC0415

    instructions, stack = verdict.instructions, verdict.stack_bytes
    flash, ram = verdict.flash_bytes, verdict.ram_bytes
    if instructions is None or stack is None or flash is None or ram is None:
        return
    where = (target.board, target.core, target.optimize)
    measured = Measured(*where, instructions, stack, flash, ram, verdict.layer_instructions)
    if not write_measured(exported, measured):
        click.echo(f"note: the figures are not kept, {exported.folder} is read-only", err=True)


def _verify_layers(
    exported: Exported, inputs: dict[str, Any], targets: list[Target], as_json: bool
) -> None:
    from mcu_export.errors import VerificationError  # noqa: PLC0415
    from mcu_export.layers import compare_layers  # noqa: PLC0415

    report = compare_layers(exported, inputs, targets)
    if as_json:
        print_json(asdict(report))
    else:
        columns = ["layer", "op", "output", "format", "integers#"]
        columns += [f"wrong on {board}#" for board in report.boards]
        rows = [
            (
                row.name,
                row.op,
                "x".join(map(str, row.shape)),
                row.format,
                row.compared,
                *row.mismatches.values(),
            )
            for row in report.layers
        ]
        print_table(f"{exported.name}, {report.samples} samples", columns, rows)
    if report.first_difference:
        raise VerificationError(
            f"{report.mismatches} integers differ",
            where=report.first_difference.text(),
            fix=EXPORT_AGAIN,
        )


def _print(verdict: object) -> None:
    facts = asdict(verdict)  # type: ignore[call-overload]
    click.echo(
        f"{'FAIL' if facts['mismatches'] else 'PASS'}: {facts['mismatches']} of "
        f"{facts['outputs_compared']:,} integers differ, {facts['samples']} samples, "
        f"every layer, on {facts['board']}"
    )
    if facts["instructions"]:
        click.echo(
            f"{facts['instructions']:,} instructions per inference, "
            f"stack {facts['stack_bytes']:,} bytes"
        )
    if facts["flash_bytes"] is None:
        return
    click.echo(
        f"flash {facts['flash_bytes']:,} bytes (code and constants), "
        f"RAM {facts['ram_bytes']:,} bytes"
    )
