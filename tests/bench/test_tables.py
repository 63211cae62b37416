"""What ``make bench`` says of measurements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcu_export.program import LEVELS
from tests.bench.__main__ import main
from tests.bench.measure import CORES, Measurement, read_measurements, write_measurements
from tests.bench.networks import NETWORKS
from tests.bench.tables import excesses, missing, readme_runs, readme_tables

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
def test_what_is_above_a_limit_is_said(changes: dict[str, Any], said: str) -> None:
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


def test_the_tables_of_the_readme_say_what_they_lack() -> None:
    runs = readme_runs(NETWORKS)
    assert missing(every(), runs) == []
    fewer = [one for one in every() if (one.network, one.core) != ("AD", "M55")]
    assert missing(fewer, runs) == [
        f"AD {scheme} --optimize speed --firmware=-O3 on M55" for scheme in ("q7", "int8")
    ]
    uncounted = [replace(one, cycles=None) for one in every()]
    assert len(missing(uncounted, runs)) == 4  # int8 of each network


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--readme", "--cores", "M4"], "--readme measures what its tables need"),
        (["--readme"], "needs the folder of the real networks in MCU_EXPORT_DATA"),
        (["--readme", "--measured", "one.json"], "not in the measurements: DS_CNN_S q7"),
    ],
)
def test_readme_ends_before_it_measures(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MCU_EXPORT_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    write_measurements(Path("one.json"), [ONE], NETWORKS)
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert said in f"{ended.value.code}{capsys.readouterr().err}"
