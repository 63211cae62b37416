"""Cycles are counted as in the table of the manual: a log of QEMU, counted by hand."""

from __future__ import annotations

from tests.bench.cycles import Cycles, cycles_of

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
    least = (3 + 1 + 1 + 1 + 1) + (1 + 1 + 1) + (2 + 1 + 3) + 2 * 1
    estimate = (3 + 2 + 1 + 1 + 1) + (2 + 1 + 1) + (7 + 1 + 3) + 2 * 2
    most = (3 + 2 + 2 + 1 + 1) + (2 + 1 + 1) + (12 + 2 + 3) + 2 * 3
    assert cycles_of(log, "net") == Cycles(11, least, estimate, most)
