"""Small networks of plain-c have no function that a core leaves unused: clang warns of each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mcu_export.graph import Graph
from mcu_export.ops import RELU
from tests.backends.affine_layers import random_affine
from tests.backends.test_plain_c import DEPTHWISE, Case, Net
from tests.cases.test_cases import quantized, write_c

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-fsyntax-only")
CORES = {
    "cortex-m0": (),
    "cortex-m3": (),
    "cortex-m4": (),
    "cortex-m55": ("-mfloat-abi=hard",),
}
CONVS = {
    "even pixels": Case((2, 2, 8), 6, (1, 1), limits=RELU),
    "odd pixels": Case((3, 3, 5), 4, (3, 3), padding=(1, 1, 1, 1)),
    "odd pixels, coded": Case((3, 3, 8), 6, (1, 1), full=True),
    "even pixels, coded": Case((4, 4, 4), 4, (3, 3), full=True),
    "one pixel": Case((1, 1, 16), 5, (1, 1)),
    "winograd": Case((4, 4, 16), 8, (3, 3), padding=(1, 1, 1, 1)),
}


def _conv(case: Case) -> Graph:
    net = Net()
    return net.builder.finish([net.conv(net.input(*case.shape), case)], {})


def _depthwise() -> Graph:
    net = Net()
    return net.builder.finish([net.depthwise(net.input(*DEPTHWISE[0].shape), DEPTHWISE[0])], {})


def _dense(full: bool) -> Graph:
    net = Net()
    return net.builder.finish([net.dense(net.input(20), 7, full)], {})


LAYERS: dict[str, Callable[[], Graph]] = {
    **{name: lambda case=case: _conv(case) for name, case in CONVS.items()},  # type: ignore[misc]
    "depthwise": _depthwise,
    "dense": lambda: _dense(False),
    "dense, coded": lambda: _dense(True),
}


def _write(folder: Path) -> list[str]:
    """Each layer alone in each scheme; the paths of the C files."""
    files = []
    for name, make in LAYERS.items():
        graph = make()
        made = {scheme: quantized(graph, scheme) for scheme in ("q7", "q15", "q15x7")}
        made["int8"] = random_affine(graph, 1)
        for scheme, quant in made.items():
            own = folder / f"{name} {scheme}"
            own.mkdir()
            write_c(quant, "plain-c", own, optimize="fastest")
            files.append(str(own / "net.c"))
    return files


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The C files of all layers."""
    return _write(tmp_path_factory.mktemp("layers"))


@pytest.mark.parametrize("core", ["host", *CORES])
def test_no_function_is_unused(core: str, sources: list[str]) -> None:
    target: list[str] = []
    if core != "host":
        target = ["--target=arm-none-eabi", f"-mcpu={core}", *CORES[core], *_headers()]
    command = ["clang", *target, *FLAGS, *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _headers() -> tuple[str, str]:
    """Where the cross compiler's C library has its headers; clang has none of its own."""
    command = ["arm-none-eabi-gcc", "-M", "-x", "c", "-"]
    told = subprocess.run(
        command, input="#include <string.h>\n", capture_output=True, text=True, check=True
    )
    first = next(path for path in told.stdout.split() if path.endswith("/string.h"))
    return "-isystem", str(Path(first).parent)
