"""The contract of CMSIS-NN as a static library, or the user's own library where one is given.

``CMSIS_NN_INC`` and ``CMSIS_NN_LIB`` name the user's library, ``CMSIS_NN_VERSION`` its release.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mcu_export.backends.cmsis_nn.releases import NEWEST, RELEASES
from mcu_export.build import Target

FOLDER = Path(__file__).resolve().parent / "modern"
FLAGS = ("-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZER = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


def given() -> bool:
    """Whether the environment names include folders of a CMSIS-NN that has the s8 functions."""
    headers = (Path(p) / "arm_nnfunctions.h" for p in os.environ.get("CMSIS_NN_INC", "").split())
    return any(h.is_file() and "arm_convolve_wrapper_s8" in h.read_text() for h in headers)


def newest() -> str:
    """The release that all tests run with: that of the library given, else the newest."""
    return os.environ.get("CMSIS_NN_VERSION", NEWEST) if given() else NEWEST


def releases() -> tuple[str, ...]:
    """The releases that can be tested: all that the contract states, or that of the library."""
    return (newest(),) if given() else tuple(RELEASES)


def targets() -> tuple[Target, ...]:
    """Where the library runs: the contract is for the host, one that is given for every path."""
    host = Target(sanitize=True, optimize="-O1")
    return (host, Target("mps2-an386"), Target("mps3-an547")) if given() else (host,)


def build(
    folder: Path,
    compiler: tuple[str, ...] = ("cc", *SANITIZER),
    archiver: str = "ar",
    release: str = NEWEST,
) -> dict[str, str]:
    """Compile the contract into ``folder``; the variables that name it.

    Args:
        folder: where the library and a header that chooses the release go.
        compiler: the compiler with the flags of the target.
        archiver: ``ar`` of the same tool chain.
        release: whose interface is wanted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = f"-DCMSIS_NN_RELEASE={release.replace('.', '')}"
    objects = []
    for source in sorted(FOLDER.glob("*.c")):
        objects.append(str(folder / f"{source.stem}.o"))
        command = [*compiler, *FLAGS, number, "-c", str(source), "-o", objects[-1]]
        subprocess.run(command, check=True)
    library = folder / "libcontract.a"
    library.unlink(missing_ok=True)
    subprocess.run([archiver, "rcs", str(library), *objects], check=True)
    chosen = f"#define {number[2:].replace('=', ' ')}\n"
    header = folder / "arm_nnfunctions.h"
    header.write_text(f'{chosen}#include "{FOLDER / header.name}"\n')
    return {"CMSIS_NN_INC": str(folder), "CMSIS_NN_LIB": str(library)}
