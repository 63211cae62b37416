"""Stage 8: compile an export with the example firmware and run it, on the host or in QEMU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcu_export.errors import ToolchainError, UsageError
from mcu_export.ops.base import Array
from mcu_export.resources import resource_dir

TIMEOUT_SECONDS = 3600
LAYER_COST = re.compile(r"^layer=(\d+) instructions=(\d+)$", re.M)
COSTS = re.compile(r"instructions=(\d+) stack=(\d+) samples=(\d+)")
LIBRARY = (
    "the model calls CMSIS-NN: set CMSIS_NN_INC to its include folders and CMSIS_NN_LIB to a "
    "static library for this target, compiled with what `make -s flags` in firmware/ prints"
)
INSTALL = "install them: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"


@dataclass(frozen=True)
class Target:
    """Where a model runs.

    Attributes:
        board: ``host``, or a folder of ``firmware/boards``.
        core: ``-mcpu`` of the board, if not its own.
        compiler: compiler of the host; empty: what make takes.
        sanitize: on the host with the address and undefined-behavior sanitizers.
        optimize: ``-O3``, ``-O2``, ``-Os`` ...
    """

    board: str = "host"
    core: str = ""
    compiler: str = ""
    sanitize: bool = False
    optimize: str = "-O3"

    @property
    def on(self) -> str:
        """``host`` or ``qemu``."""
        return "host" if self.board == "host" else "qemu"

    def variables(self) -> list[str]:
        """Variables for make."""
        made = [f"BOARD={self.board}", f"OPT={self.optimize}", f"TIMEOUT={TIMEOUT_SECONDS}"]
        made += [f"CORE={self.core}"] if self.core else []
        made += [f"CC={self.compiler}"] if self.compiler and self.on == "host" else []
        return made + (["SANITIZE=1"] if self.sanitize else [])


@dataclass(frozen=True, eq=False)
class Run:
    """What a run of the stream program gave.

    ``trace`` holds the outputs of all layers, sample after sample, as they lie in memory;
    ``layer_instructions`` what each layer costs, empty on the host.
    """

    trace: bytes
    instructions: int | None
    stack_bytes: int | None
    layer_instructions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Size:
    """Bytes of the compiled model: code and constants, and RAM."""

    flash: int
    ram: int


def boards() -> dict[str, str]:
    """Every board with its description; ``host`` is not one."""
    found = {}
    for file in sorted(resource_dir("firmware").glob("boards/*/board.mk")):
        match = re.search(r"^DESCRIPTION\s*=\s*(.*)$", file.read_text(), re.M)
        found[file.parent.name] = match[1] if match else ""
    return found


def check_target(target: Target) -> None:
    """Raise unless the board exists and the tools to use it are installed.

    Raises:
        UsageError: no such board.
        ToolchainError: a program is missing.
    """
    if target.board != "host" and target.board not in boards():
        raise UsageError(
            f"there is no board {target.board!r}", where="--board", fix="use " + ", ".join(boards())
        )
    host = (target.compiler or "cc",)
    needed = host if target.on == "host" else ("arm-none-eabi-gcc", "qemu-system-arm")
    missing = [tool for tool in ("make", *needed) if not shutil.which(tool)]
    if missing:
        raise ToolchainError(f"not installed: {', '.join(missing)}", where="PATH", fix=INSTALL)


def run_stream(export: Path, name: str, target: Target, inputs: bytes) -> Run:
    """Run the exported model ``name`` in the folder ``export`` on samples.

    Args:
        export: folder of the export.
        name: its C name.
        target: where.
        inputs: the integers of all samples, as they lie in memory.

    Raises:
        ToolchainError: it does not compile, or the program does not end well.
    """
    check_target(target)
    with _work_folder() as work:
        (work / "input.bin").write_bytes(inputs)
        output = _make(export, name, target, work, ["run", "PROGRAM=stream", f"RUN_DIR={work}"])
        costs = COSTS.search(output)
        trace = work / "trace.bin"
        if not costs or not trace.is_file():
            raise ToolchainError("the test program said nothing", where=output[-2000:])
        measured = target.on == "qemu"
        return Run(
            trace.read_bytes(),
            int(costs[1]) if measured else None,
            int(costs[2]) if measured else None,
            _layer_costs(output),
        )


def _layer_costs(output: str) -> tuple[int, ...]:
    """Instructions of each layer; a layer that comes in pieces has several lines."""
    costs: dict[int, int] = {}
    for layer, count in LAYER_COST.findall(output):
        costs[int(layer)] = costs.get(int(layer), 0) + int(count)
    return tuple(costs[layer] for layer in sorted(costs))


def compiled_size(export: Path, name: str, target: Target) -> Size:
    """Bytes of the model's object file for a target, without the test program.

    Raises:
        ToolchainError: it does not compile.
    """
    with compiled(export, name, target) as (made, tool):
        text, data, bss = tool("size", str(made)).splitlines()[1].split()[:3]
        return Size(int(text) + int(data), int(data) + int(bss))


@contextmanager
def compiled(
    export: Path, name: str, target: Target, extra: Sequence[str] = ()
) -> Iterator[tuple[Path, Callable[..., str]]]:
    """The model's object file while the context lasts, and a function that calls binutils on it.

    Args:
        export, name: as in :func:`run_stream`.
        target: whose compiler and flags.
        extra: further flags.

    Raises:
        ToolchainError: it does not compile.
    """
    check_target(target)
    with _work_folder() as work:
        flags = _make(export, name, target, work, ["-s", "flags"]).split()
        cross = "" if target.on == "host" else "arm-none-eabi-"
        compiler = (target.compiler or "cc") if target.on == "host" else "arm-none-eabi-gcc"
        include = [f"-isystem{path}" for path in _library().get("CMSIS_NN_INC", [])]
        source, made = export / f"{name}.c", work / "model.o"
        options = ["-std=c99", *flags, *include, *extra]
        _run([compiler, *options, "-c", str(source), "-o", str(made)])
        yield made, lambda tool, *arguments: _run([f"{cross}{tool}", *arguments])


def pack_inputs(inputs: Mapping[str, Array], dtypes: Mapping[str, str]) -> bytes:
    """Integers as the stream program reads them: sample after sample, all inputs of each."""
    columns = [
        np.ascontiguousarray(array.reshape(len(array), -1).astype(dtypes[name]))
        .view(np.uint8)
        .reshape(len(array), -1)
        for name, array in inputs.items()
    ]
    return np.concatenate(columns, axis=1).tobytes()


def _make(export: Path, name: str, target: Target, work: Path, arguments: list[str]) -> str:
    command = ["make", "--no-print-directory", "-C", str(resource_dir("firmware")), *arguments]
    command += [f"MODEL={name}", f"MODEL_DIR={export.resolve()}", f"BUILD={work}"]
    command += [f"{name}={' '.join(paths)}" for name, paths in _library().items()]
    return _run(command + target.variables())


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"cannot run {command[0]}: {error}", where="PATH") from error
    if done.returncode:
        shown = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise ToolchainError(
            f"{command[0]} ended with code {done.returncode}",
            where="its last lines:\n" + shown,
            fix=LIBRARY
            if re.search(r"arm_nnfunctions\.h|undefined reference to .arm_", shown)
            else "",
        )
    return done.stdout


def _library() -> dict[str, list[str]]:
    """The user's CMSIS-NN as the environment names it, absolute: make runs in another folder."""
    return {
        name: [str(Path(path).absolute()) for path in os.environ[name].split()]
        for name in ("CMSIS_NN_INC", "CMSIS_NN_LIB")
        if os.environ.get(name)
    }


@contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mcu-export-") as folder:
        yield Path(folder)
