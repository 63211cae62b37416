"""What ``make bench`` says of measurements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mcu_export.program import LEVELS
from tests.bench.measure import CORES, Measurement, read_measurements, write_measurements
from tests.bench.networks import NETWORKS
from tests.bench.tables import excesses, readme_tables

ONE = Measurement(
    "AD", "q7", "M4", "speed", "-O3", 1000, 350_000, 1.33, 0, 768, 100, 265_864, 2296, 450_000, 1, 2
)


def every() -> list[Measurement]:
    names = [network.name for network in NETWORKS if network.limits]
    return [
        replace(ONE, network=name, scheme=scheme, core=core)
        for name in names
        for scheme in ("q7", "int8")
        for core in CORES
    ] + [
        replace(ONE, network=name, scheme="int8", optimize=level, firmware="-Os")
        for name in names
        for level in LEVELS
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instructions": 370_001}, "370,001 instructions, the limit is 370,000"),
        ({"ram_bytes": 776}, "776 bytes of RAM, the limit is 768"),
        ({"code_bytes": 3073}, "3,073 bytes of code, the limit is 3,072"),
        ({"mismatches": 2, "core": "M0"}, "2 mismatches"),
    ],
)
def test_what_is_above_a_limit_is_said(changes: dict[str, object], said: str) -> None:
    assert excesses([ONE], NETWORKS) == []
    (found,) = excesses([replace(ONE, **changes)], NETWORKS)
    assert found.endswith(said)


def test_measurements_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_measurements(tmp_path / "bench.json", every(), NETWORKS)
    assert read_measurements(tmp_path / "bench.json") == every()


def test_the_readme_shows_ours_and_the_peers() -> None:
    text = readme_tables(every(), NETWORKS)
    assert (
        "| AD | 1,000 | 0.350 M | 0.350 M | 0.522 M (NNoM + legacy kernels) | 0.67 / 0.67 |" in text
    )
    assert "| Cortex-M0 | 1.33 / 1.33 / 10.92 |" in text
    assert "| estimate | 0.450 M |" in text
    assert "| `size` | -Os | 0.350 M / 2,296 |" in text
    with pytest.raises(KeyError):
        readme_tables([ONE], NETWORKS)
