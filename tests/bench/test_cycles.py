"""Cycles are counted as in the table of the manual: a log of QEMU, counted by hand."""

from __future__ import annotations

import pytest

from tests.bench.cycles import Costs, Cycles, Instruction, cycles_of

# Two inferences: a loop that is taken once, a call of the firmware, which does not count.
ENTRY = """\
IN: net_run
0x00000010:  b510       push     {r4, lr}
0x00000012:  6801       ldr      r1, [r0]
0x00000014:  6842       ldr      r2, [r0, #4]
0x00000016:  fb21 3302  smlad    r3, r1, r2, r3
0x0000001a:  d1fb       bne      #0x14

Trace 0: 0x7f01 [00800408/00000010/00000110/ff020200] net_run
"""
LOOP = """\
IN: net_run
0x00000014:  6842       ldr      r2, [r0, #4]
0x00000016:  fb21 3302  smlad    r3, r1, r2, r3
0x0000001a:  d1fb       bne      #0x14

Trace 0: 0x7f02 [00800408/00000014/00000110/ff020200] net_run
"""
END = """\
IN: net_run
0x0000001c:  fbb1 f2f2  udiv     r2, r1, r2
0x00000020:  5442       strb     r2, [r0, r1]
0x00000022:  bd10       pop      {r4, pc}

Trace 0: 0x7f03 [00800408/0000001c/00000110/ff020200] net_run
"""
CALLER = """\
IN: main
0x00000040:  4770       bx       lr

Trace 0: 0x7f04 [00800408/00000040/00000110/ff020200] main
"""
AGAIN = """\
Trace 0: 0x7f01 [00800408/00000010/00000110/ff020200] net_run
Stopped execution of TB chain before 0x7f01 [00000010] net_run
Trace 0: 0x7f01 [00800408/00000010/00000110/ff020200] net_run
Trace 0: 0x7f02 [00800408/00000014/00000110/ff020200] net_run
Trace 0: 0x7f03 [00800408/0000001c/00000110/ff020200] net_run
Trace 0: 0x7f04 [00800408/00000040/00000110/ff020200] main
"""


def test_cycles_are_those_of_the_table() -> None:
    log = "".join((ENTRY, LOOP, END, CALLER, AGAIN)).splitlines()
    # push 3, two loads, smlad 1, branch 1 | load, smlad 1, branch 1 | division, store, pop 3,
    # and two refills: the loop, the return.
    least = (3 + 2 + 1 + 1 + 1) + (2 + 1 + 1) + (2 + 2 + 3) + 2 * 1
    estimate = (3 + 2 + 1 + 1 + 1) + (2 + 1 + 1) + (7 + 2 + 3) + 2 * 2
    most = (3 + 2 + 2 + 1 + 1) + (2 + 1 + 1) + (12 + 2 + 3) + 2 * 3
    assert cycles_of(log, "net") == Cycles(11, least, estimate, most)


@pytest.mark.parametrize(
    ("before", "code", "costs"),
    [
        # DDI 0439D, tables 3-1 and 7-1
        ("", "movw r0, #1", (1, 1, 1)),
        ("", "smlal r4, r5, r0, r1", (1, 1, 1)),
        ("", "ldr r0, [r1, #4]", (2, 2, 2)),
        ("", "ldrd r0, r1, [r2], #8", (3, 3, 3)),
        ("", "ldm.w lr, {r1, r2, r8}", (4, 4, 4)),
        ("", "push {r4, lr}", (3, 3, 3)),
        ("", "udiv r0, r1, r2", (2, 7, 12)),
        ("mov r0, r1", "it lt", (0, 1, 1)),
        ("cmp.w r0, r1", "it lt", (1, 1, 1)),
        ("", "tbb [pc, r0]", (2, 2, 3)),
        ("", "vldr d7, [pc, #0x14]", (3, 3, 3)),
        ("", "vstr s0, [r2]", (2, 2, 2)),
        # 3.3.2
        ("ldr r0, [r1]", "ldr r1, [r2]", (1, 1, 2)),
        ("ldr r0, [r1]", "ldr r1, [r0]", (2, 2, 2)),
        ("ldr r0, [r1, r2]", "str r0, [r3, #0x14]", (1, 1, 1)),
        ("ldr r0, [r1, r2]", "str r1, [r3, r2]", (1, 1, 2)),
        ("str r0, [r1]", "ldr r1, [r2]", (2, 2, 2)),
        ("", "strb r0, [r1], #1", (1, 1, 1)),
        ("", "strb r0, [r1, r2, lsl #1]", (2, 2, 2)),
        ("add r1, r2", "ldr r0, [r1]", (3, 3, 3)),
        ("add r1, r2", "str r1, [r2, #4]", (1, 1, 1)),
        ("cmp r1, r2", "ldr r0, [r1]", (2, 2, 2)),
        ("bic r1, r2, #3", "ldr r0, [r1]", (3, 3, 3)),
        ("smull r0, r1, r2, r3", "strh r0, [r1]", (2, 2, 2)),
        ("add sp, #8", "pop {r4, pc}", (4, 4, 4)),
        ("", "ldr r0, [pc, #0x18]", (2, 2, 3)),
        ("", "ldr pc, [sp], #4", (4, 3, 2)),
    ],
)
def test_cycles_are_those_of_the_manual(before: str, code: str, costs: Costs) -> None:
    assert instruction(code).costs(instruction(before) if before else None) == costs


def instruction(code: str) -> Instruction:
    mnemonic, operands = code.split(" ", 1)
    return Instruction(0, 4 if mnemonic.endswith(".w") else 2, mnemonic, operands)
