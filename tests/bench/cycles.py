"""An estimate of cycles on a Cortex-M4 from the instructions that QEMU executes.

QEMU logs each translated block with its instructions, and each execution of a block; the costs are
those of the instruction table in Arm's Cortex-M4 technical reference manual (DDI 0439, 3.3.1), with
memory that never waits. What the table leaves open makes the range:

================================  =====  ========  ====
what                              least  estimate  most
================================  =====  ========  ====
refilling the pipeline            1      2         3
a load behind a load or store     1      1         2
any other load                    1      2         2
a store with a register offset    1      1         2
a division                        2      7         12
================================  =====  ========  ====

Nothing here was compared with a board: flash with wait states costs more.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from mcu_export.build import Target
from mcu_export.exported import Exported
from mcu_export.ops.base import Array
from mcu_export.verify import verify

Costs = tuple[int, int, int]  # least, estimate, most

REFILL: Costs = (1, 2, 3)
DIVISION: Costs = (2, 7, 12)
INSTRUCTION = re.compile(r"^0x([0-9a-f]+):  ([0-9a-f]{4}(?: [0-9a-f]{4})?) +(\S+) *(.*)")
EXECUTED = re.compile(r"^Trace 0: (\S+) \[[0-9a-f]+/([0-9a-f]+)/[0-9a-f/]+\] (\S*)")
SINGLE = re.compile(
    r"(ldr|str)(b|h|sb|sh)?(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.w)?"
)
MULTIPLE = re.compile(r"(ldm|stm|push|pop|vldm|vstm|vpush|vpop)")
LIBRARY = re.compile(r"__aeabi_|memmove|memset")


@dataclass(frozen=True)
class Cycles:
    """Of one inference; ``instructions`` as counted here."""

    instructions: int
    least: int
    estimate: int
    most: int


@dataclass(frozen=True)
class Instruction:
    """One line of the log."""

    address: int
    bytes: int
    mnemonic: str
    operands: str

    def is_single(self) -> bool:
        """Whether it is a load or store of one register."""
        return bool(SINGLE.fullmatch(self.mnemonic))

    def costs(self, before: Instruction | None) -> Costs:
        """Cycles without the refill of a taken branch; ``before`` is the one before it."""
        if self.is_single():
            if self.mnemonic.startswith("str"):
                return (1, 1, 2 if re.search(r", r?\w+(, lsl #\d)?\]", self.operands) else 1)
            return (1, 1 if before and before.is_single() else 2, 2)
        if self.mnemonic.startswith(("ldrd", "strd")):
            return (3, 3, 3)
        if MULTIPLE.match(self.mnemonic):
            count = 1 + len(registers(self.operands))
            return (count, count, count)
        return DIVISION if self.mnemonic.startswith(("udiv", "sdiv")) else (1, 1, 1)


@dataclass(frozen=True)
class Block:
    """Instructions that run in a row."""

    start: int
    end: int
    count: int
    costs: Costs


def registers(operands: str) -> list[str]:
    """Those in braces; QEMU writes every one of them."""
    return operands[operands.index("{") + 1 : operands.index("}")].split(", ")


def block_of(instructions: list[Instruction]) -> Block:
    """A block with the sum of its costs."""
    before = [None, *instructions[:-1]]
    each = [one.costs(other) for one, other in zip(instructions, before, strict=True)]
    least, estimate, most = (sum(costs) for costs in zip(*each, strict=True))
    last = instructions[-1]
    return Block(
        instructions[0].address, last.address + last.bytes, len(each), (least, estimate, most)
    )


def executions(log: Iterable[str]) -> Iterator[tuple[Block, str]]:
    """Every block that was executed with the function it lies in, in order."""
    translated: dict[int, Block] = {}  # by address, the latest: QEMU may cut a block short later
    known: dict[str, Block] = {}  # by where QEMU keeps the translation
    current: list[Instruction] = []
    waiting: tuple[Block, str] | None = None
    for line in log:
        if found := INSTRUCTION.match(line):
            size = len(found[2].replace(" ", "")) // 2
            current.append(Instruction(int(found[1], 16), size, found[3], found[4]))
        elif current:
            translated[current[0].address] = block_of(current)
            current = []
        if found := EXECUTED.match(line):
            if waiting:
                yield waiting
            if found[1] not in known or known[found[1]].start != int(found[2], 16):
                known[found[1]] = translated[int(found[2], 16)]
            waiting = known[found[1]], found[3]
        elif line.startswith("Stopped execution"):  # the block was not executed after all
            waiting = None
    if waiting:
        yield waiting


def cycles_of(log: Iterable[str], name: str) -> Cycles:
    """The mean over all inferences in a log.

    Args:
        log: lines of QEMU's ``-d in_asm,exec,nochain``.
        name: C name of the model: its functions begin with it.
    """
    counts: Counter[tuple[Block, str]] = Counter()
    refills = 0
    before: Block | None = None
    for block, function in executions(log):
        refills += before is not None and block.start != before.end
        ours = function.startswith(f"{name}_") or bool(LIBRARY.match(function))
        before = block if ours else None
        if ours:
            counts[block, function] += 1
    entry = min(block.start for block, function in counts if function == f"{name}_run")
    runs = sum(times for (block, _), times in counts.items() if block.start == entry)
    instructions = sum(block.count * times for (block, _), times in counts.items())
    totals = [
        sum(block.costs[i] * times for (block, _), times in counts.items()) + REFILL[i] * refills
        for i in range(len(REFILL))
    ]
    return Cycles(*(round(total / runs) for total in (instructions, *totals)))


def estimate(exported: Exported, inputs: Mapping[str, Array], target: Target) -> Cycles:
    """Run an export once more and estimate its cycles; ``target`` is a Cortex-M4 in QEMU."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        qemu = f"{os.environ.get('QEMU', 'qemu-system-arm')} -d in_asm,exec,nochain -D {log}"
        with patch.dict(os.environ, {"QEMU": qemu}):
            verify(exported, {key: array[:1] for key, array in inputs.items()}, target)
        with log.open() as lines:
            return cycles_of(lines, exported.name)
