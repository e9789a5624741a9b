"""The smallest schedule that still fails: delta debugging over a plan's faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from simulation.faults import Fault, Plan


def smallest(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Return a plan that fails with as few faults, of as short a time, as could be found.

    `plan` itself must fail; every fault of the result is needed.
    """
    faults = _fewest(plan.faults, lambda left: fails(plan.without(left)))
    shorter = plan.without(faults)
    for at, fault in enumerate(faults):
        for length in (0.05, 0.5, 2.5):
            if length >= fault.length:
                break
            tried = [*shorter.faults]
            tried[at] = replace(fault, length=length)
            if fails(plan.without(tried)):
                shorter = plan.without(tried)
                break
    return shorter


def _fewest(faults: Sequence[Fault], fails: Callable[[Sequence[Fault]], bool]) -> list[Fault]:
    """Return a subset that fails and of which no part does, as ddmin finds it."""
    left, parts = list(faults), 2
    while len(left) >= 2:
        size = -(-len(left) // parts)
        chunks = [left[at : at + size] for at in range(0, len(left), size)]
        for chunk in chunks:
            rest = [fault for fault in left if fault not in chunk]
            if fails(rest):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(left):
                break
            parts = min(2 * parts, len(left))
    return [] if len(left) == 1 and fails([]) else left
