"""Instructions, RAM and flash of one network on one core; kept in a JSON file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from mcu_export.api import Sources, export_files
from mcu_export.build import Target
from mcu_export.exported import Exported, open_export
from mcu_export.verify import choose_inputs, verify
from tests.bench.cycles import estimate
from tests.bench.networks import ROOT, Network, Peer

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
class Run:
    """One export and the cores that it is measured on.

    ``optimize`` is that of the export, ``firmware`` the flag that the firmware is compiled with;
    with ``cycles`` those of the Cortex-M4 are estimated, in a second run of it.
    """

    network: Network
    scheme: str
    cores: Sequence[str] = tuple(CORES)
    optimize: str = "speed"
    firmware: str = "-O3"
    backend: str = "plain-c"
    cycles: bool = False


@dataclass(frozen=True)
class Measurement:
    """One network on one core; ``cycles`` are estimated: see :mod:`tests.bench.cycles`."""

    network: str
    scheme: str
    core: str
    optimize: str
    firmware: str
    macs: int
    instructions: int
    per_mac: float
    mismatches: int
    ram_bytes: int
    stack_bytes: int
    weight_bytes: int
    code_bytes: int
    cycles: int | None = None
    cycles_least: int | None = None
    cycles_most: int | None = None


def data_folder() -> Path:
    """Where the real networks are."""
    return Path(os.environ.get("MCU_EXPORT_DATA", ROOT.parent / "shared" / "data"))


def measure(run: Run) -> Iterator[Measurement]:
    """Export the network, then compile, run and check it on each core."""
    with tempfile.TemporaryDirectory() as folder:
        exported = _export(run, Path(folder))
        inputs = choose_inputs(exported, "", SAMPLES)
        memory, macs = exported.manifest["memory"], exported.manifest["macs"]
        for core in run.cores:
            target = replace(CORES[core], optimize=run.firmware)
            verdict = verify(exported, inputs, target)
            made = estimate(exported, inputs, target) if run.cycles and core == "M4" else None
            instructions = verdict.instructions or 0
            yield Measurement(
                run.network.name,
                run.scheme,
                core,
                run.optimize,
                run.firmware,
                macs,
                instructions,
                round(instructions / macs, 3),
                verdict.mismatches,
                memory["ram"],
                verdict.stack_bytes or 0,
                memory["weights"],
                verdict.flash_bytes - memory["weights"],
                *((made.estimate, made.least, made.most) if made else ()),
            )


def _export(run: Run, folder: Path) -> Exported:
    network = run.network
    base = data_folder() if network.in_data() else ROOT
    out = folder / "export"
    options = {"name": "net", "backend": run.backend, "optimize": run.optimize}
    if run.scheme == "int8" and network.quantized:  # it has its own integers: no samples, no scheme
        sources = Sources(base / network.quantized)
    else:
        sources = Sources(base / network.model, _samples(network, base, folder))
        options["scheme"] = run.scheme
    export_files(sources, out, options)
    return open_export(out)


def _samples(network: Network, base: Path, folder: Path) -> str:
    if not network.samples.startswith("random"):
        return f"{base / network.samples}"
    shape = tuple(int(size) for size in network.samples.split()[1].split("x"))
    file = folder / "random.npz"
    np.savez(file, x=np.random.default_rng(0).random((32, *shape), np.float32))
    return str(file)


def peer_facts(one: Measurement, peer: Peer) -> dict[str, object]:
    """The peer's figures on this core, and ours as a share of its instructions."""
    theirs = peer.instructions if one.core == "M4" else one.macs * peer.per_mac.get(one.core, 0)
    facts: dict[str, object] = {"name": peer.name}
    if theirs:
        facts |= {"instructions": round(theirs), "ratio": round(one.instructions / theirs, 3)}
    if one.core == "M4" and peer.ram:
        facts |= {"ram_bytes": peer.ram, "code_bytes": peer.flash}
    return facts


def write_measurements(
    file: Path, made: Iterable[Measurement], networks: Iterable[Network]
) -> None:
    """All measurements, each with its peers."""
    peers = {network.name: network.peers for network in networks}
    content = [
        asdict(one)
        | {"peers": [facts for p in peers[one.network] if len(facts := peer_facts(one, p)) > 1]}
        for one in made
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n")


def read_measurements(file: Path) -> list[Measurement]:
    """What :func:`write_measurements` wrote."""
    names = [field.name for field in fields(Measurement)]
    return [
        Measurement(**{name: one[name] for name in names}) for one in json.loads(file.read_text())
    ]
