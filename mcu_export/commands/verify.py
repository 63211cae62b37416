"""``mcu-export verify``: the C, compiled and run, against the reference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mcu_export.commands.common import FOLDER, common_options, print_json, progress_bar

DEFAULT_BOARD = "mps2-an386"


@click.command("verify")
@click.argument("folder", type=FOLDER)
@click.option("--on", type=click.Choice(["host", "qemu"]), default="host", show_default=True)
@click.option("--board", default="", help=f"Board in QEMU; default: {DEFAULT_BOARD}.")
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
    on: str,
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

    Ends with code 7 and the first difference if one byte differs.
    """
    from mcu_export.build import Target  # noqa: PLC0415
    from mcu_export.errors import UsageError, VerificationError  # noqa: PLC0415
    from mcu_export.exported import open_export  # noqa: PLC0415
    from mcu_export.verify import choose_inputs, verify  # noqa: PLC0415

    if board and on == "host":
        raise UsageError("a board is emulated", where="--board", fix="add --on qemu")
    exported = open_export(folder, name)
    inputs = choose_inputs(exported, samples, count)
    where = "host" if on == "host" else board or DEFAULT_BOARD
    target = Target(where, core, cc, sanitize, optimize)
    with progress_bar(as_json) as progress:
        total = len(next(iter(inputs.values())))
        verdict = verify(exported, inputs, target, lambda n: progress("compare", n, total))
    if as_json:
        print_json(asdict(verdict))
    else:
        _print(verdict)
    if verdict.first_difference:
        raise VerificationError(
            f"{verdict.mismatches} of {verdict.outputs_compared} integers differ",
            where=verdict.first_difference.text(),
            fix="export again with this version of mcu-export; if it stays, report it as a bug",
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
    click.echo(
        f"flash {facts['flash_bytes']:,} bytes (code and constants), "
        f"RAM {facts['ram_bytes']:,} bytes"
    )
