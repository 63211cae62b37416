"""The estimates of kernels are near what QEMU counts."""

from __future__ import annotations

import pytest

from mcu_export.backends import BACKENDS
from tests.bench.costs import LAYERS, measure, network_of

# One of each kind: general, first and 1x1 conv, depthwise, dense, average and max pooling, add,
# softmax.
SHOWN = tuple(LAYERS[index] for index in (1, 2, 6, 11, 16, 21, 23, 25, 33))


@pytest.mark.parametrize("scheme", ["q7", "int8", "int16x8"])
def test_estimates_are_near_the_emulator(scheme: str) -> None:
    made = list(measure(network_of(SHOWN), scheme, 0))
    estimated, measured = (
        sum(getattr(m, what) for m in made) for what in ("estimated", "measured")
    )
    assert 0.85 < estimated / measured < 1.15
    for one in made:
        assert 0.6 < one.estimated / one.measured < 1.6, one


@pytest.mark.parametrize("scheme", ["q7", "int8"])
def test_winograd_costs_what_is_estimated(scheme: str) -> None:
    for one in measure(network_of(LAYERS[:2]), scheme, 0, "fastest"):
        assert one.kernel == "plain-c conv2d, Winograd"
        assert 0.8 < one.estimated / one.measured < 1.25, one


def test_every_kernel_with_code_has_a_cost() -> None:
    kernels = BACKENDS["plain-c"].kernels
    unknown = {k.name for k in kernels if not any(vars(k.cost).values())}
    assert unknown == {"no code: same memory"}
