"""plain-c: the project's own C99, made for each layer's sizes."""

from __future__ import annotations

from mcu_export.backends.base import Backend
from mcu_export.backends.plain_c.affine import AFFINE_KERNELS
from mcu_export.backends.plain_c.rows import row_wise
from mcu_export.backends.plain_c.table import KERNELS

PLAIN_C = Backend(
    name="plain-c",
    about="the project's own C99, made for each layer; no library needed",
    kernels=KERNELS + AFFINE_KERNELS,
    schemes=("q7", "q15", "q15x7", "mixed", "int8", "int4", "int16x8"),
    row_wise=row_wise,
)
