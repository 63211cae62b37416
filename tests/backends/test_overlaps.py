"""Outputs over inputs, paired weights and packing, each against a simulation without formulas."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcu_export.backends.plain_c.kernels import Window
from mcu_export.backends.plain_c.packing import pair_weights
from mcu_export.backends.plain_c.trailing import (
    trail_of_blocks,
    trail_of_pixels,
    trail_of_planes,
)
from mcu_export.pack import Block, Problem, Rule, arena_size, lower_bound, pack

SMALL = st.integers(1, 7)


@st.composite
def windows(draw: st.DrawFn, same_channels: bool = False) -> Window:
    height, width, channels = draw(SMALL), draw(SMALL), draw(st.integers(1, 4))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pads = [draw(st.integers(0, 4)) for _ in range(4)]
    out = [
        (size + before + after - (k - 1) * d - 1) // s + 1
        for size, before, after, k, d, s in zip(
            (height, width), pads[::2], pads[1::2], kernel, dilation, strides, strict=True
        )
    ]
    assume(min(out) >= 1)
    channels_out = channels if same_channels else draw(st.integers(1, 6))
    return Window(
        height,
        width,
        channels,
        *out,
        channels_out,
        *kernel,
        *strides,
        *dilation,
        pads[0],
        pads[2],
        True,
    )


def taps_of(w: Window, pixel: int) -> set[int]:
    """Pixels of the input that an output pixel reads."""
    out_y, out_x = divmod(pixel, w.out_width)
    found = set()
    for tap_y in range(w.kernel_height):
        for tap_x in range(w.kernel_width):
            y = out_y * w.stride_y - w.pad_top + tap_y * w.dilation_y
            x = out_x * w.stride_x - w.pad_left + tap_x * w.dilation_x
            if 0 <= y < w.in_height and 0 <= x < w.in_width:
                found.add(y * w.in_width + x)
    return found


@settings(max_examples=300, deadline=None)
@given(windows(), st.sampled_from([0, 1, 2]), st.integers(0, 20))
def test_nothing_is_read_that_was_written_over(w: Window, step: int, further: int) -> None:
    start = trail_of_pixels(w, step) - further
    pixels, written = w.out_height * w.out_width, set[int]()
    for first in range(0, pixels, max(step, 1)):
        group = range(first, min(first + max(step, 1), pixels))
        if step == 0:  # the first channels of a pixel are written before the others are read
            written |= {start + first * w.out_channels + c for c in range(w.out_channels)}
        for pixel in group:
            for tap in taps_of(w, pixel):
                assert not written & {tap * w.in_channels + c for c in range(w.in_channels)}
        for pixel in group:
            written |= {start + pixel * w.out_channels + c for c in range(w.out_channels)}


@settings(max_examples=200, deadline=None)
@given(windows(), st.integers(1, 3), st.integers(1, 4), st.integers(0, 20))
def test_a_block_is_read_before_it_is_written(
    w: Window, height: int, width: int, further: int
) -> None:
    start = trail_of_blocks(w, height, width) - further
    written = set[int]()
    for top in range(0, w.out_height, height):
        for left in range(0, w.out_width, width):
            block = [
                y * w.out_width + x
                for y in range(top, min(top + height, w.out_height))
                for x in range(left, min(left + width, w.out_width))
            ]
            for pixel in block:
                for tap in taps_of(w, pixel):
                    assert not written & {tap * w.in_channels + c for c in range(w.in_channels)}
            for pixel in block:
                written |= {start + pixel * w.out_channels + c for c in range(w.out_channels)}


@settings(max_examples=300, deadline=None)
@given(windows(same_channels=True), st.integers(1, 4))
def test_a_plane_is_copied_before_it_is_written_over(w: Window, block: int) -> None:
    if not trail_of_planes(w, block):
        return
    assert w.out_height * w.out_width <= w.in_height * w.in_width
    copied, written = set[int](), set[int]()
    for first in range(0, w.out_height, block):
        rows = range(first, min(first + block, w.out_height))
        top = rows[0] * w.stride_y - w.pad_top
        bottom = rows[-1] * w.stride_y - w.pad_top + (w.kernel_height - 1) * w.dilation_y
        for y in range(max(top, 0), min(bottom, w.in_height - 1) + 1):
            if y not in copied:
                assert not written & set(range(y * w.in_width, (y + 1) * w.in_width))
                copied.add(y)
        written |= set(range(rows[0] * w.out_width, (rows[-1] + 1) * w.out_width))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 9))
def test_paired_weights_hold_both_channels(
    out: int, taps: int, quads: bool, extreme: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.integers(-128 if extreme else -127, 128, (out, taps))
    paired = pair_weights(weights, quads)
    assert paired.elements.min() >= -(2**15) and paired.elements.max() < 2**15
    elements = np.ascontiguousarray(paired.elements.astype(np.int16))
    low = elements.view(np.int8).reshape(*elements.shape, 2)[:, :, 0].astype(np.int64)
    even = (low & 255) - 128 if paired.coded else low
    odd = (elements - (even + (128 if paired.coded else 0))) // 256
    both = np.stack([even, odd], axis=1).reshape(-1, paired.taps)
    if quads:
        both = both.reshape(len(both), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(both), -1)
    np.testing.assert_array_equal(both[:out, :taps], weights)
    assert not both[:, taps:].any() and not both[out:].any()


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A chain of steps; some values live on, some steps have scratch memory, some may overlap."""
    steps = draw(st.integers(1, 8))
    blocks, rules = [], []
    for index in range(steps + 1):
        last = min(index + draw(st.sampled_from([0, 0, 0, 2])), steps)
        size = 8 * draw(st.integers(1, 40))
        blocks.append(Block(f"v{index}", (f"v{index}",), index - 1, last, size))
    for index in range(steps):
        if draw(st.booleans()):
            blocks.append(Block(f"s{index}", (), index, index, 8 * draw(st.integers(1, 6))))
        kind = draw(st.sampled_from(["none", "exact", "most"]))
        if kind != "none" and blocks[index].last == index:
            most = 0 if kind == "exact" else draw(st.integers(-90, 30))
            rules.append(Rule(f"v{index}", f"v{index + 1}", most, kind == "exact"))
    return Problem(tuple(blocks), tuple(rules))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_no_two_live_bytes_overlap_unless_allowed(problem: Problem) -> None:
    offsets = pack(problem)
    rules = {(rule.read, rule.written): rule for rule in problem.rules}
    for a in problem.blocks:
        assert offsets[a.key] % 8 == 0 and offsets[a.key] >= 0
        for b in problem.blocks:
            together = set(range(a.first, a.last + 1)) & set(range(b.first, b.last + 1))
            bytes_a = range(offsets[a.key], offsets[a.key] + a.bytes)
            bytes_b = range(offsets[b.key], offsets[b.key] + b.bytes)
            if a is b or not together or not set(bytes_a) & set(bytes_b):
                continue
            rule = rules.get((a.key, b.key)) or rules[b.key, a.key]
            distance = offsets[rule.written] - offsets[rule.read]
            assert distance == rule.most if rule.exact else distance <= rule.most
            assert len(together) == 1
    assert lower_bound(problem) <= arena_size(problem.blocks, offsets)
