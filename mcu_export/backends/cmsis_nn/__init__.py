"""cmsis-nn: the arm_*_s8 and arm_*_s16 kernels of CMSIS-NN 7."""

from __future__ import annotations

from mcu_export.backends.base import Backend
from mcu_export.backends.cmsis_nn.table import kernels


def _backend(name: str, cores: str, mve: bool) -> Backend:
    return Backend(
        name=name,
        about=f"the arm_*_s8 and arm_*_s16 kernels of CMSIS-NN 7, scratch for {cores}; "
        "plain-c for what they cannot do",
        kernels=kernels(mve),
        includes=("arm_nnfunctions.h",),
        schemes=("q7", "int8", "int16x8"),
    )


CMSIS_NN = _backend("cmsis-nn", "all cores", mve=True)
CMSIS_NN_DSP = _backend("cmsis-nn-dsp", "cores without MVE (Cortex-M0 to M33)", mve=False)
