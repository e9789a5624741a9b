"""Does the same question get the same answer? Later, on another day, after other questions.

And is the question left as it was? A set that writes into its input changes what others read.
"""

from __future__ import annotations

from candled.core.bar import COLUMNS
from candled.lab.verify.circumstances import other_circumstances
from candled.lab.verify.facts import Check, Ledger
from candled.lab.verify.series import elsewhere
from candled.lab.verify.subject import Subject


def check_repeat(subject: Subject) -> Check:
    """Ask for the table again: after other bars, with other seeds, on another day."""
    ledger = subject.ledger("repeat", "the same table again: later, reseeded, after other bars")
    expected = subject.whole
    with other_circumstances(subject.features, subject.seed):
        subject.table(elsewhere(subject.bars, len(subject.bars) // 2, subject.interval))
        found = subject.table(subject.bars)
    ledger.compare(
        expected,
        found,
        slice(None),
        "is another when asked again (a clock, chance, or something remembered decides)",
    )
    return ledger.done()


def check_inputs(subject: Subject) -> Check:
    """Say which columns of the bars were written into; every call of the set is looked at."""
    names = [f"bars.{name}" for name in subject.modified]
    ledger = Ledger(
        "inputs", "the bars after each call, and before it", names, subject.bars.open_time
    )
    subject.table(subject.bars)
    for name, cells in subject.modified.items():
        ledger.add(f"bars.{name}", "is written into; work on a copy", cells=cells)
    ledger.count(len(subject.bars) * len(COLUMNS), slice(None))
    return ledger.done()
