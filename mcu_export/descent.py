"""Coordinate descent over formats: each change that lowers the error of the output is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from mcu_export.graph import Graph
from mcu_export.schemes.formats import PowerOfTwo
from mcu_export.search import Choice, Measured, Meter

Change = Callable[[Choice, int], Choice]


def change_count(graph: Graph, roles: tuple[str, ...]) -> int:
    """How many formats a round of descent goes through."""
    return sum(1 for _ in _changes(graph, roles))


def _changes(graph: Graph, roles: tuple[str, ...], fixed: Collection[str] = ()) -> Iterator[Change]:
    """One function per tensor that adds frac bits to its format, in the order of the network."""
    for tensor in graph.inputs:
        if tensor.name not in fixed:
            yield _activation_change(tensor.name)
    for node in graph.nodes:
        for role in node.params:
            if role in roles:
                yield _constant_change(node.name, role)
        yield _activation_change(node.name)


def _activation_change(name: str) -> Change:
    def change(choice: Choice, delta: int) -> Choice:
        return choice.with_activation(name, _finer(choice.activations[name], delta))

    return change


def _constant_change(name: str, role: str) -> Change:
    def change(choice: Choice, delta: int) -> Choice:
        formats = choice.params[name]
        changed = {**formats, role: _finer(formats[role], delta)}
        return replace(choice, params={**choice.params, name: changed})

    return change


def _finer(fmt: PowerOfTwo, delta: int) -> PowerOfTwo:
    return replace(fmt, frac_bits=fmt.frac_bits + delta)


def descend(
    meter: Meter,
    start: Choice,
    rounds: int,
    roles: tuple[str, ...] = ("weights",),
    progress: Callable[[int, int], None] = lambda done, total: None,
    work: float = math.inf,
    fixed: Collection[str] = (),
) -> Measured:
    """Coordinate descent on the output error; never worse than ``start``.

    Each tensor in turn gets one frac bit less, or else one more, and again in that direction, as
    long as the error falls. It ends after ``rounds`` rounds, one without a change, or when
    ``work`` is done. Where that does not suffice for one round it goes from the output to
    the input, after the input itself: what lies near the output is measured at little cost.

    Args:
        meter: measures on samples.
        start: where to begin.
        rounds: most rounds over all tensors.
        roles: constants whose formats are changed too.
        progress: called with tensors done and in all.
        work: that may be done, as :func:`mcu_export.search.layer_work` counts it.
        fixed: inputs that keep their formats.
    """
    best, end = meter.measure(start), meter.work + work
    changes = list(_changes(meter.graph, roles, fixed))
    if meter.round_work(len(changes)) > work:
        first = len(meter.graph.inputs) - len(fixed)
        changes[first:] = reversed(changes[first:])
    for round_ in range(rounds):
        begun = best.error
        for index, change in enumerate(changes):
            if meter.work >= end:
                return best
            for delta in (-1, 1):
                better = _follow(meter, best, change, delta)
                if better is not best:
                    best = better
                    break
            progress(round_ * len(changes) + index + 1, rounds * len(changes))
        if best.error >= begun:
            break
    return best


def _follow(meter: Meter, best: Measured, change: Change, delta: int) -> Measured:
    """As many steps in one direction as lower the error."""
    while True:
        tried = meter.better(change(best.choice, delta), best)
        if tried is None:
            return best
        best = tried
