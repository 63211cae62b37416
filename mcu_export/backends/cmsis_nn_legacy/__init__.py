"""cmsis-nn-legacy: the q7 and q15 kernels of CMSIS-NN, as they were until CMSIS 5.9.0."""

from __future__ import annotations

from mcu_export.backends.base import Backend
from mcu_export.backends.cmsis_nn_legacy.table import KERNELS

CMSIS_NN_LEGACY = Backend(
    name="cmsis-nn-legacy",
    about="the arm_*_q7 and arm_*_q15 kernels of CMSIS 5; plain-c for what they cannot do",
    kernels=KERNELS,
    includes=("arm_nnfunctions.h",),
)
