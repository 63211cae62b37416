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
    Run,
    data_folder,
    measure,
    read_measurements,
    write_measurements,
)
from tests.bench.networks import NETWORKS, Network
from tests.bench.tables import excesses, missing, print_all, readme_runs, readme_tables
from tests.readme import README, with_measured

CHOICES = ("networks", "cores", "schemes", "backend", "optimize", "firmware", "cycles")


def main() -> None:
    """Measure what the arguments choose, print tables, write JSON."""
    args = _arguments()
    runs = readme_runs(NETWORKS) if args.readme else _runs(args)
    if args.measured:
        made = [one for file in args.measured for one in read_measurements(file)]
    else:
        made = [one for run in runs for one in measure(run)]
    if args.readme and (lacking := missing(made, runs)):
        sys.exit(f"--readme: not in the measurements: {', '.join(lacking)}")
    print_all(made, NETWORKS)
    write_measurements(args.json, made, NETWORKS)
    print(f"\nwritten to {args.json}")
    if args.readme:
        README.write_text(with_measured(README.read_text(), readme_tables(made, NETWORKS)))
        print(f"written to {README.name}")
    above = excesses(made, NETWORKS) if args.backend == "plain-c" else []
    sys.exit("\n".join(above) if above else 0)


def _runs(args: argparse.Namespace) -> list[Run]:
    cores = args.cores.split(",")
    return [
        Run(network, scheme, cores, level, args.firmware, args.backend, args.cycles)
        for network in _chosen(args.networks)
        for scheme in args.schemes.split(",")
        for level in args.optimize.split(",")
    ]


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
    parser.add_argument(
        "--readme",
        action="store_true",
        help="measure all that the tables of the README need, and write them; takes no choice",
    )
    parser.add_argument(
        "--measured", type=Path, nargs="+", help="JSON files of earlier runs; nothing is measured"
    )
    args = parser.parse_args()
    if args.readme:
        chosen = [name for name in CHOICES if getattr(args, name) != parser.get_default(name)]
        if chosen:
            parser.error(f"--readme measures what its tables need, whatever --{chosen[0]} says")
        if not args.measured and not data_folder().is_dir():
            parser.error("--readme needs the folder of the real networks in MCU_EXPORT_DATA")
    return args


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
