"""Which C is called. ``BACKENDS`` is the list; a new backend is one folder and one line."""

from __future__ import annotations

from mcu_export.backends.base import Backend
from mcu_export.backends.cmsis_nn import CMSIS_NN, CMSIS_NN_DSP
from mcu_export.backends.cmsis_nn_legacy import CMSIS_NN_LEGACY
from mcu_export.backends.plain_c import PLAIN_C

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (PLAIN_C, CMSIS_NN, CMSIS_NN_DSP, CMSIS_NN_LEGACY)
}
