"""The contract of CMSIS-NN 7 as a static library, or the user's own library where one is given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "modern"
FLAGS = ("-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")


def given() -> bool:
    """Whether the environment names include folders of a CMSIS-NN that has the s8 functions."""
    headers = (Path(p) / "arm_nnfunctions.h" for p in os.environ.get("CMSIS_NN_INC", "").split())
    return any(h.is_file() and "arm_convolve_wrapper_s8" in h.read_text() for h in headers)


def build(folder: Path, compiler: tuple[str, ...], archiver: str = "ar") -> dict[str, str]:
    """Compile the contract into ``folder``; the variables that name it.

    Args:
        folder: where the library goes.
        compiler: the compiler with the flags of the target.
        archiver: ``ar`` of the same tool chain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for source in sorted(FOLDER.glob("*.c")):
        objects.append(str(folder / f"{source.stem}.o"))
        subprocess.run([*compiler, *FLAGS, "-c", str(source), "-o", objects[-1]], check=True)
    library = folder / "libcontract.a"
    library.unlink(missing_ok=True)
    subprocess.run([archiver, "rcs", str(library), *objects], check=True)
    return {"CMSIS_NN_INC": str(FOLDER), "CMSIS_NN_LIB": str(library)}
