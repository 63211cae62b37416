"""Which C is called. ``BACKENDS`` is the list; a new backend is one folder and one line."""

from __future__ import annotations

from mcu_export.backends.base import Backend
from mcu_export.backends.cmsis_nn import BY_RELEASE, CMSIS_NN, CMSIS_NN_DSP
from mcu_export.backends.cmsis_nn.releases import NEWEST, RELEASES
from mcu_export.backends.cmsis_nn_legacy import CMSIS_NN_LEGACY
from mcu_export.backends.plain_c import PLAIN_C
from mcu_export.errors import UsageError

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (PLAIN_C, CMSIS_NN, CMSIS_NN_DSP, CMSIS_NN_LEGACY)
}


def backend_of(name: str, cmsis_nn_version: str = "") -> Backend:
    """A backend by its name, for a release of the library that it calls.

    Args:
        name: one of :data:`BACKENDS`.
        cmsis_nn_version: release of CMSIS-NN; empty is the newest.

    Raises:
        UsageError: there is no such backend or release, or the backend does not call CMSIS-NN by
            release.
    """
    if name not in BACKENDS:
        raise UsageError(
            f"{name!r} is unknown", where="--backend", fix="use " + ", ".join(BACKENDS)
        )
    if not cmsis_nn_version:
        return BACKENDS[name]
    where = "--cmsis-nn-version"
    if cmsis_nn_version not in RELEASES:
        what = f"there is no release {cmsis_nn_version!r} of CMSIS-NN that we know"
        raise UsageError(what, where=where, fix="use " + ", ".join(RELEASES))
    if (name, NEWEST) not in BY_RELEASE:
        fix = "leave the option out, or use --backend cmsis-nn"
        raise UsageError(f"the backend {name} is the same for all", where=where, fix=fix)
    return BY_RELEASE[name, cmsis_nn_version]
