"""An estimate of cycles on a Cortex-M4 from the instructions that QEMU executes.

QEMU logs each translated block with its instructions, and each execution of a block; the costs are
those of Arm's Cortex-M4 Processor Technical Reference Manual, DDI 0439D, 3.3.1 (tables 3-1 and 3-2
with their notes), 3.3.2 (load/store timings) and table 7-1 (floating point), with memory that never
waits. One cycle, but:

=================================================  =====  ========  ====
what                                               least  estimate  most
=================================================  =====  ========  ====
refilling the pipeline (P)                         1      2         3
a load behind a load that its address is not from  1      1         2
any other load                                     2      2         2
a load from the constants behind the code          + 0    + 0       + 1
a store with a register offset behind a load       1      1         2
any other store with a register offset             2      2         2
any other store                                    1      1         1
LDRD, STRD, VLDR and VSTR of 64 bits               3      3         3
VLDR and VSTR of 32 bits                           2      2         2
LDM, STM, PUSH, POP of N registers                 1 + N  1 + N     1 + N
a load or store whose address was just computed    + 1    + 1       + 1
a division                                         2      7         12
IT behind an instruction of 16 bits                0      1         1
TBB, TBH                                           2      2         3
LDR to PC, with its refill                         5      5         5
=================================================  =====  ========  ====

The manual gives P as 1 to 3 and a division as 2 to 12 and does not say when; that loads may fail to
pipeline (note b) and IT may fold (note d). Its extra cycles of unaligned loads are not counted, as
the log does not tell where data lies; nor what an instruction saves whose condition fails.
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
ONE: Costs = (1, 1, 1)
DIVISION: Costs = (2, 7, 12)
TABLE_BRANCH: Costs = (2, 2, 3)
LOAD_TO_PC: Costs = (4, 3, 2)  # five with the refill
INSTRUCTION = re.compile(r"^0x([0-9a-f]+):  ([0-9a-f]{4}(?: [0-9a-f]{4})?) +(\S+) *(.*)")
EXECUTED = re.compile(r"^Trace 0: (\S+) \[[0-9a-f]+/([0-9a-f]+)/[0-9a-f/]+\] (\S*)")
SINGLE = re.compile(
    r"(ldr|str)(b|h|sb|sh)?(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.w)?"
)
DOUBLE = re.compile(r"(ldrd|strd)")
MULTIPLE = re.compile(r"(ldm|stm|push|pop)")
TWO_RESULTS = re.compile(r"[su]m(ul|la)l|smlald|smlsld|umaal")
NO_RESULT = re.compile(r"cmp|cmn|tst|teq|b(?!ic|f)|cb|it|nop|pld|dsb|dmb|isb|cps|msr|svc")
REGISTER = re.compile(r"\b(r\d+|sb|sl|fp|ip|sp|lr|pc)\b")
NARROW = 2  # bytes
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

    def transfers(self) -> bool:
        """Whether it is a load or store."""
        return bool(
            SINGLE.fullmatch(self.mnemonic)
            or DOUBLE.match(self.mnemonic)
            or MULTIPLE.match(self.mnemonic)
        )

    def is_single_load(self) -> bool:
        """Whether it loads one register."""
        return bool(SINGLE.fullmatch(self.mnemonic)) and self.mnemonic.startswith("ldr")

    def sources(self) -> list[str]:
        """The registers that make the address of a load or store."""
        if self.mnemonic.startswith(("push", "pop")):
            return ["sp"]
        if MULTIPLE.match(self.mnemonic):
            return REGISTER.findall(self.operands)[:1]
        return REGISTER.findall(self.operands[self.operands.index("[") :].split("]")[0])

    def results(self) -> list[str]:
        """The registers that an instruction for data writes; none for loads, stores, branches."""
        if self.transfers() or NO_RESULT.match(self.mnemonic):
            return []
        return REGISTER.findall(self.operands)[: 2 if TWO_RESULTS.match(self.mnemonic) else 1]

    def costs(self, before: Instruction | None) -> Costs:
        """Cycles without the refill of a taken branch; ``before`` is the one before it.

        Raises:
            ValueError: a floating point instruction other than a load or store.
        """
        if self.mnemonic.startswith("v"):
            return self._float()
        if self.mnemonic.startswith("it"):
            return (0 if before and before.bytes == NARROW else 1, 1, 1)
        if self.mnemonic.startswith(("tbb", "tbh")):
            return TABLE_BRANCH
        if self.mnemonic.startswith(("udiv", "sdiv")):
            return DIVISION
        if not self.transfers():
            return ONE
        late = int(before is not None and not set(before.results()).isdisjoint(self.sources()))
        least, estimate, most = self._transfer(before)
        return least + late, estimate + late, most + late

    def _float(self) -> Costs:
        """Cycles of a load or store that gcc clears or copies 4 or 8 bytes with."""
        if self.mnemonic not in ("vldr", "vstr"):
            raise ValueError(f"the cycles of {self.mnemonic} are not known")
        count = 3 if self.operands.startswith("d") else 2
        return count, count, count

    def _transfer(self, before: Instruction | None) -> Costs:
        """Cycles of a load or store whose address is ready."""
        if MULTIPLE.match(self.mnemonic):
            count = 1 + len(registers(self.operands))
            return count, count, count
        if DOUBLE.match(self.mnemonic):
            return 3, 3, 3
        sources, load = self.sources(), self.is_single_load()
        if not load and len(sources) == 1:
            return ONE
        if load and self.operands.startswith("pc"):
            return LOAD_TO_PC
        most = 3 if load and "pc" in sources else 2
        pipelined = (
            before is not None
            and before.is_single_load()
            and REGISTER.findall(before.operands)[0] not in sources
        )
        return (1, 1, most) if pipelined else (2, 2, most)


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
