"""Real networks: the C gives the bytes of the reference, on the host and on every core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mcu_export.build import Target
from mcu_export.verify import choose_inputs, verify
from tests.real.conftest import NETWORKS, MakeExport

pytestmark = pytest.mark.real

CORES = {
    "M0": Target("mps2-an385", core="cortex-m0"),
    "M3": Target("mps2-an385"),
    "M4": Target("mps2-an386"),
    "M7": Target("mps2-an500"),
    "M33": Target("mps2-an505"),
    "M55": Target("mps3-an547"),
}
HOSTS = {
    "gcc": Target(compiler="gcc", sanitize=True, optimize="-O1"),
    "clang": Target(compiler="clang", sanitize=True, optimize="-O1"),
}
SOME = {"DS_CNN_L": 8, "CNN_M": 16, "CNN_S": 16, "VWW": 8, "ResNet-8": 16}


@pytest.mark.parametrize("scheme", ["q7", "q15"])
@pytest.mark.parametrize("name", NETWORKS)
def test_host(
    name: str, scheme: str, export_network: MakeExport, evaluation: Callable[[str], str]
) -> None:
    exported = export_network(name, scheme=scheme)
    inputs = choose_inputs(exported, evaluation(name), SOME.get(name, 32))
    verdict = verify(exported, inputs, Target())
    assert (verdict.mismatches, verdict.first_difference) == (0, None)
    assert verdict.outputs_compared > 1000


@pytest.mark.parametrize("backend", ["plain-c", "cmsis-nn-legacy"])
@pytest.mark.parametrize("compiler", HOSTS)
def test_ds_cnn_s_on_the_host(
    compiler: str,
    backend: str,
    export_network: MakeExport,
    evaluation: Callable[[str], str],
    use_kernels: Callable[[str], None],
) -> None:
    use_kernels(backend)
    exported = export_network("DS_CNN_S", backend=backend)
    inputs = choose_inputs(exported, evaluation("DS_CNN_S"), 64)
    verdict = verify(exported, inputs, HOSTS[compiler])
    assert (verdict.samples, verdict.mismatches) == (64, 0)


@pytest.mark.parametrize("backend", ["plain-c", "cmsis-nn-legacy"])
@pytest.mark.parametrize("core", CORES)
def test_ds_cnn_s_in_qemu(
    core: str,
    backend: str,
    export_network: MakeExport,
    evaluation: Callable[[str], str],
    use_kernels: Callable[[str], None],
) -> None:
    use_kernels(backend)
    exported = export_network("DS_CNN_S", backend=backend)
    inputs = choose_inputs(exported, evaluation("DS_CNN_S"), 64)
    verdict = verify(exported, inputs, CORES[core])
    assert (verdict.samples, verdict.mismatches) == (64, 0)
    assert verdict.instructions and verdict.stack_bytes
