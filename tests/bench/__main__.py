"""``make bench``: instructions, RAM and flash of each network on each core, beside the peers'.

Instructions are counted in QEMU and do not depend on the machine; bytes come from object files.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mcu_export.api import Sources, export_files
from mcu_export.build import Target
from mcu_export.commands.common import print_table
from mcu_export.exported import Exported, open_export
from mcu_export.verify import choose_inputs, verify
from tests.bench.networks import NETWORKS, ROOT, Network

CORES = {
    "M0": Target("mps2-an385", core="cortex-m0"),
    "M3": Target("mps2-an385"),
    "M4": Target("mps2-an386"),
    "M7": Target("mps2-an500"),
    "M33": Target("mps2-an505"),
    "M55": Target("mps3-an547"),
}
SAMPLES = 2


@dataclass(frozen=True)
class Measurement:
    """One network on one core."""

    network: str
    scheme: str
    core: str
    macs: int
    instructions: int
    per_mac: float
    mismatches: int
    ram_bytes: int
    stack_bytes: int
    weight_bytes: int
    code_bytes: int


def main() -> None:
    """Measure what the arguments choose, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="make bench BENCH_FLAGS=...", description=__doc__)
    parser.add_argument("--networks", default="", help="names, separated by commas; default: all")
    parser.add_argument("--cores", default=",".join(CORES), help="separated by commas")
    parser.add_argument("--schemes", default="q7", help="separated by commas")
    parser.add_argument("--backend", default="plain-c")
    parser.add_argument("--optimize", default="-O3", help="optimization of the compiler")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    args = parser.parse_args()
    made = []
    for network in _chosen(args.networks):
        for scheme in args.schemes.split(","):
            made += list(_measure(network, scheme, args.backend, args.cores, args.optimize))
    _print(made)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps([asdict(one) for one in made], indent=2) + "\n")
    print(f"\nwritten to {args.json}")


def _chosen(names: str) -> list[Network]:
    wanted = names.split(",") if names else [network.name for network in NETWORKS]
    data = _data()
    found = [network for network in NETWORKS if network.name in wanted]
    missing = [network.name for network in found if network.in_data() and not data.is_dir()]
    if missing:
        print(f"left out, as MCU_EXPORT_DATA does not name their folder: {', '.join(missing)}")
    return [network for network in found if network.name not in missing]


def _data() -> Path:
    return Path(os.environ.get("MCU_EXPORT_DATA", ROOT.parent / "shared" / "data"))


def _measure(
    network: Network, scheme: str, backend: str, cores: str, optimize: str
) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        exported = _export(network, scheme, backend, Path(folder))
        inputs = choose_inputs(exported, "", SAMPLES)
        memory, macs = exported.manifest["memory"], exported.manifest["macs"]
        for core in cores.split(","):
            target = CORES[core]
            target = Target(target.board, target.core, optimize=optimize)
            verdict = verify(exported, inputs, target)
            instructions = verdict.instructions or 0
            yield Measurement(
                network.name,
                scheme,
                core,
                macs,
                instructions,
                round(instructions / macs, 3),
                verdict.mismatches,
                memory["ram"],
                verdict.stack_bytes or 0,
                memory["weights"],
                verdict.flash_bytes - memory["weights"],
            )


def _export(network: Network, scheme: str, backend: str, folder: Path) -> Exported:
    base = _data() if network.in_data() else ROOT
    if scheme == "int8" and network.quantized:
        return _export_quantized(base / network.quantized, backend, folder / "export")
    samples = f"{base / network.samples}"
    if network.samples.startswith("random"):
        shape = tuple(int(size) for size in network.samples.split()[1].split("x"))
        samples = str(folder / "random.npz")
        np.savez(samples, x=np.random.default_rng(0).random((32, *shape), np.float32))
    out = folder / "export"
    options = {"name": "net", "scheme": scheme, "backend": backend}
    export_files(Sources(base / network.model, samples), out, options)
    return open_export(out)


def _export_quantized(model: Path, backend: str, out: Path) -> Exported:
    """A file that has its own integers needs neither samples nor a scheme."""
    export_files(Sources(model), out, {"name": "net", "backend": backend})
    return open_export(out)


def _print(made: list[Measurement]) -> None:
    columns = ["network", "scheme", "core", "MACs#", "instructions#", "per MAC#", "mismatches#"]
    columns += ["RAM#", "stack#", "weights#", "code#"]
    print_table("instructions per inference; bytes", columns, [asdict(m).values() for m in made])
    peers = {network.name: network.peers for network in NETWORKS}
    rows = []
    for one in made:
        for peer in peers[one.network] if one.core == "M4" else ():
            rows.append(
                (
                    one.network,
                    one.scheme,
                    peer.name,
                    f"{one.instructions / 1e6:.2f} M / {peer.instructions / 1e6:.2f} M",
                    f"{one.instructions / peer.instructions:.2f}",
                    f"{one.ram_bytes:,} / {peer.ram:,}" if peer.ram else "",
                    f"{one.code_bytes:,} / {peer.flash:,}" if peer.flash else "",
                )
            )
    if rows:
        print()
        columns = ["network", "scheme", "peer", "instructions, M4", "ratio#", "RAM", "code"]
        print_table("ours / the peer's", columns, rows)


if __name__ == "__main__":
    main()
