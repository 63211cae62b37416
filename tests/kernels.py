"""Which kernels an export is compiled with in tests: the contracts, or the user's own library."""

from __future__ import annotations

import os
from pathlib import Path

LEGACY = Path(__file__).resolve().parent / "contract" / "legacy"
# Table activations and softmax are never called, and would need the math library.
LEGACY_SOURCES = tuple(
    LEGACY / name
    for name in ("convolve.c", "depthwise.c", "fully_connected.c", "pooling.c", "relu.c")
)


def kernel_variables(backend: str) -> dict[str, str]:
    """Variables for make with which exports of ``backend`` compile; see ``contract/README.md``."""
    if backend != "cmsis-nn-legacy":
        return {}
    if os.environ.get("CMSIS_NN_LEGACY_LIB"):
        return {
            "CMSIS_NN_INC": os.environ["CMSIS_NN_LEGACY_INC"],
            "CMSIS_NN_LIB": os.environ["CMSIS_NN_LEGACY_LIB"],
            "EXTRA_CFLAGS": os.environ.get("CMSIS_NN_LEGACY_CFLAGS", ""),
        }
    return {"CMSIS_NN_INC": str(LEGACY), "EXTRA_SOURCES": " ".join(map(str, LEGACY_SOURCES))}
