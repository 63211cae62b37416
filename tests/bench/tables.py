"""The tables of ``make bench``: on the terminal, and those of the README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from mcu_export.commands.common import print_table
from mcu_export.program import LEVELS
from mcu_export.support import Table, markdown
from tests.bench.measure import CORES, Measurement, Run, peer_facts
from tests.bench.networks import Network, Peer

COLUMNS = [
    "network",
    "scheme",
    "core",
    "optimize",
    "firmware",
    "MACs#",
    "instructions#",
    "per MAC#",
]
COLUMNS += [
    "mismatches#",
    "RAM#",
    "stack#",
    "weights#",
    "code#",
    "cycles, about#",
    "least#",
    "most#",
]
SCHEMES = ("q7", "int8")


def print_all(made: Sequence[Measurement], networks: Iterable[Network]) -> None:
    """Every measurement, then each beside its peers."""
    print_table(
        "instructions per inference; bytes", COLUMNS, [list(asdict(m).values()) for m in made]
    )
    peers = {network.name: network.peers for network in networks}
    rows = [
        _beside(one, peer)
        for one in made
        for peer in peers[one.network]
        if "ratio" in peer_facts(one, peer)
    ]
    if rows:
        print()
        columns = ["network", "scheme", "core", "peer", "instructions", "ratio#", "RAM", "code"]
        print_table("ours / the peer's", columns, rows)


def _beside(one: Measurement, peer: Peer) -> tuple[object, ...]:
    facts = peer_facts(one, peer)
    return (
        one.network,
        one.scheme,
        one.core,
        peer.name,
        f"{millions(one.instructions)} / {millions(facts['instructions'])}",
        f"{facts['ratio']:.2f}",
        f"{one.ram_bytes:,} / {peer.ram:,}" if "ram_bytes" in facts else "",
        f"{one.code_bytes:,} / {peer.flash:,}" if "code_bytes" in facts else "",
    )


def millions(instructions: object) -> str:
    """``3.14 M``; three digits below a million."""
    value = float(str(instructions)) / 1e6
    return f"{value:.2f} M" if value >= 1 else f"{value:.3f} M"


def excesses(made: Iterable[Measurement], networks: Iterable[Network]) -> list[str]:
    """What is above a limit of its network, or gives other integers than the reference."""
    limits = {network.name: network.limits for network in networks}
    found = [
        f"{one.network} {one.scheme} {one.core}: {one.mismatches} mismatches"
        for one in made
        if one.mismatches
    ]
    for one in made:
        limit = limits[one.network]
        if limit is None or one.core != "M4" or one.scheme not in limit.instructions:
            continue
        if one.optimize != "speed":  # it trades one for the other
            continue
        for what, got, most in (
            ("instructions", one.instructions, limit.instructions[one.scheme]),
            ("bytes of RAM", one.ram_bytes, limit.ram),
            ("bytes of code", one.code_bytes, limit.flash),
        ):
            if got > most:
                where = f"{one.network} {one.scheme} --optimize {one.optimize}"
                found.append(f"{where}: {got:,} {what}, the limit is {most:,.0f}")
    return found


def readme_runs(networks: Iterable[Network]) -> list[Run]:
    """All that the tables of the README need: the networks with limits, on all cores, with cycles
    in int8, and at each level in a firmware for size."""
    shown = [network for network in networks if network.limits]
    fastest = [
        Run(network, scheme, cycles=scheme == "int8") for network in shown for scheme in SCHEMES
    ]
    return fastest + [
        Run(network, "int8", ("M4",), level, "-Os") for network in shown for level in LEVELS
    ]


def missing(made: Iterable[Measurement], runs: Iterable[Run]) -> list[str]:
    """What of these runs was not measured."""
    there = {(one.network, one.scheme, one.optimize, one.firmware, one.core): one for one in made}
    found = []
    for run in runs:
        where = (
            f"{run.network.name} {run.scheme} --optimize {run.optimize} --firmware={run.firmware}"
        )
        for core in run.cores:
            one = there.get((run.network.name, run.scheme, run.optimize, run.firmware, core))
            if one is None:
                found.append(f"{where} on {core}")
            elif run.cycles and core == "M4" and one.cycles is None:
                found.append(f"{where} --cycles")
    return found


def readme_tables(made: Iterable[Measurement], networks: Iterable[Network]) -> str:
    """The tables of the README from the measurements of :func:`readme_runs`."""
    made = list(made)
    fastest = [one for one in made if (one.optimize, one.firmware) == ("speed", "-O3")]
    table = {(one.network, one.scheme, one.core): one for one in fastest}
    shown = [network for network in networks if network.limits]
    tables = (
        _costs(shown, table),
        _cycles(shown, table),
        _cores(shown, table),
        _levels(shown, made),
    )
    return "\n".join(markdown(table) for table in tables)


Made = Mapping[tuple[str, str, str], Measurement]


def _costs(networks: Sequence[Network], table: Made) -> Table:
    """Instructions, RAM and code on the Cortex-M4."""
    columns = ["Cortex-M4", "MACs", "q7", "int8", "best peer", "ratio", "RAM", "CMSIS-NN's"]
    columns += ["code q7", "code int8", "CMSIS-NN's"]
    rows = []
    for network in networks:
        ours = [table[network.name, scheme, "M4"] for scheme in SCHEMES]
        best = min(network.peers, key=lambda peer: peer.instructions)
        direct = _direct(network)
        ratios = " / ".join(f"{one.instructions / best.instructions:.2f}" for one in ours)
        rows.append(
            (
                network.name,
                f"{ours[0].macs:,}",
                *(millions(one.instructions) for one in ours),
                f"{millions(best.instructions)} ({best.name})",
                ratios,
                f"{max(one.ram_bytes for one in ours):,}",
                f"{direct.ram:,}",
                *(f"{one.code_bytes:,}" for one in ours),
                f"{direct.flash:,}",
            )
        )
    return columns, rows


def _cycles(networks: Sequence[Network], table: Made) -> Table:
    """Cycles on the Cortex-M4, with the range of the estimate."""
    ours = [table[network.name, "int8", "M4"] for network in networks]
    rows = [
        ("estimate", *(millions(one.cycles) for one in ours)),
        ("least to most", *(_range(one) for one in ours)),
        ("per instruction", *(f"{(one.cycles or 0) / one.instructions:.2f}" for one in ours)),
    ]
    return ["cycles, Cortex-M4, int8", *(network.name for network in networks)], rows


def _range(one: Measurement) -> str:
    return f"{millions(one.cycles_least)} to {millions(one.cycles_most)}"


def _cores(networks: Sequence[Network], table: Made) -> Table:
    """Instructions per MAC on the other cores: q7 / int8 / CMSIS-NN."""
    rows = []
    for core in (core for core in CORES if core != "M4"):
        cells = [f"Cortex-{core}"]
        for network in networks:
            ours = [f"{table[network.name, scheme, core].per_mac:.2f}" for scheme in SCHEMES]
            cells.append(" / ".join([*ours, f"{_direct(network).per_mac[core]:.2f}"]))
        rows.append(tuple(cells))
    return ["per MAC: q7 / int8 / CMSIS-NN", *(network.name for network in networks)], rows


def _levels(networks: Sequence[Network], made: Iterable[Measurement]) -> Table:
    """Each level of --optimize in a firmware for size: instructions / code."""
    table = {
        (one.network, one.optimize): one
        for one in made
        if (one.scheme, one.core, one.firmware) == ("int8", "M4", "-Os")
    }
    rows = []
    for level, flag in LEVELS.items():
        ours = [table[network.name, level] for network in networks]
        cells = (f"{millions(one.instructions)} / {one.code_bytes:,}" for one in ours)
        rows.append((f"`{level}`", f"-{flag}", *cells))
    return ["`--optimize`", "gcc", *(network.name for network in networks)], rows


def _direct(network: Network) -> Peer:
    """The peer that is measured on all cores."""
    return next(peer for peer in network.peers if peer.per_mac)
