"""``make bench``: instructions, RAM and flash of each network on each core, beside the peers'.

Instructions are counted in QEMU and do not depend on the machine; bytes come from object files.
The exit code tells whether a network is above one of its limits.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mcu_export.program import LEVELS
from tests.bench.measure import (
    CORES,
    data_folder,
    measure,
    read_measurements,
    write_measurements,
)
from tests.bench.networks import NETWORKS, Network
from tests.bench.tables import excesses, print_all, readme_tables
from tests.readme import README, with_measured


def main() -> None:
    """Measure what the arguments choose, print tables, write JSON."""
    args = _arguments()
    if args.measured:
        made = [one for file in args.measured for one in read_measurements(file)]
    else:
        made = [
            one
            for network in _chosen(args.networks)
            for scheme in args.schemes.split(",")
            for level in args.optimize.split(",")
            for one in measure(
                network,
                scheme,
                args.backend,
                args.cores.split(","),
                level,
                args.firmware,
                args.cycles,
            )
        ]
    print_all(made, NETWORKS)
    write_measurements(args.json, made, NETWORKS)
    print(f"\nwritten to {args.json}")
    if args.readme:
        README.write_text(with_measured(README.read_text(), readme_tables(made, NETWORKS)))
        print(f"written to {README.name}")
    above = excesses(made, NETWORKS) if args.backend == "plain-c" else []
    sys.exit("\n".join(above) if above else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench BENCH_FLAGS=...", description=__doc__)
    parser.add_argument("--networks", default="", help="names, separated by commas; default: all")
    parser.add_argument("--cores", default=",".join(CORES), help="separated by commas")
    parser.add_argument("--schemes", default="q7,int8", help="separated by commas")
    parser.add_argument("--backend", default="plain-c")
    parser.add_argument("--optimize", default="speed", help=f"of the export: {','.join(LEVELS)}")
    parser.add_argument("--firmware", default="-O3", help="flag that the firmware is compiled with")
    parser.add_argument("--cycles", action="store_true", help="estimate them for the Cortex-M4")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--readme", action="store_true", help="write the tables of the README")
    parser.add_argument(
        "--measured", type=Path, nargs="+", help="JSON files of earlier runs; nothing is measured"
    )
    return parser.parse_args()


def _chosen(names: str) -> list[Network]:
    wanted = names.split(",") if names else [network.name for network in NETWORKS]
    found = [network for network in NETWORKS if network.name in wanted]
    there = data_folder().is_dir()
    missing = [network.name for network in found if network.in_data() and not there]
    if missing:
        print(f"left out, as MCU_EXPORT_DATA does not name their folder: {', '.join(missing)}")
    return [network for network in found if network.name not in missing]


if __name__ == "__main__":
    main()
