"""cmsis-nn: the arm_*_s8, arm_*_s4 and arm_*_s16 kernels of CMSIS-NN 4.0.0 to 7.0.0."""

from __future__ import annotations

from mcu_export.backends.base import Backend
from mcu_export.backends.cmsis_nn.releases import NEWEST, RELEASES, Release
from mcu_export.backends.cmsis_nn.table import kernels


def _backends(release: Release) -> tuple[Backend, Backend]:
    """For all cores, and for those without MVE: they differ in scratch memory."""
    return (
        _backend("cmsis-nn", "for all cores", release, mve=True),
        _backend("cmsis-nn-dsp", "for cores without MVE: less scratch", release, mve=False),
    )


def _backend(name: str, cores: str, release: Release, mve: bool) -> Backend:
    return Backend(
        name=name,
        about=f"the arm_*_s8, _s4 and _s16 kernels of CMSIS-NN, {', '.join(RELEASES)}, {cores}; "
        "plain-c for what they cannot do",
        kernels=kernels(release, mve),
        includes=("arm_nnfunctions.h",),
        schemes=("q7", "int8", "int4", "int16x8"),
        cmsis_nn_version=release.version,
        declarations=(release.declaration,),
    )


BY_RELEASE = {
    (backend.name, release.version): backend
    for release in RELEASES.values()
    for backend in _backends(release)
}
CMSIS_NN, CMSIS_NN_DSP = BY_RELEASE["cmsis-nn", NEWEST], BY_RELEASE["cmsis-nn-dsp", NEWEST]
