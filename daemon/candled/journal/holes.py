"""Are all of them there? Entries have no holes between their numbers, but for what was pruned.

Pure: says what is missing, and leaves what follows to who asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from candled.core.bar import Stream
from candled.ports import Entry


def missing_position(
    position: int, entries: Sequence[Entry], *, limit: int, last: int, pruned: int
) -> str | None:
    """Say what is missing among the entries that were found after `position`.

    At most `limit` were asked for, `last` is the newest there is; up to `pruned` any may be gone.
    """
    expected = max(position, pruned) + 1
    for entry in entries:
        if entry.position > expected:
            return f"decision {expected} is missing"
        expected = max(entry.position, pruned) + 1
    if len(entries) < limit and expected <= last:
        return f"decision {expected} is missing"
    return None


def missing_seq(
    stream: Stream, after_seq: int, entries: Sequence[Entry], *, limit: int, last: int, pruned: int
) -> str | None:
    """Say whether any is missing among the signals that were found after a number.

    At most `limit` were asked for, `last` is the newest there was. The oldest may have been pruned,
    and where something has been, all of them may.
    """
    seqs = [entry.seq for entry in entries]
    if not seqs:
        complete = after_seq >= last or limit < 1 or pruned > 0
    else:
        first, count = seqs[0] or 0, len(seqs)
        end = last if count < limit else first + count - 1
        complete = seqs == list(range(first, end + 1))
        complete = complete and (first == after_seq + 1 or pruned > 0)
    return None if complete else f"{stream.path}: a signal after number {after_seq} is missing"


def contradiction(newest: Entry, of_newest_bar: Entry, last_seq: int) -> str | None:
    """Say what does not fit between a stream's newest entries and its newest number."""
    path = newest.decision.stream.path
    if newest.last_seq != last_seq:
        return f"{path}: its newest signal is number {last_seq}, not {newest.last_seq}"
    corrects = newest.decision.revision > 0
    if newest is not of_newest_bar and not (
        corrects and newest.decision.bar_open < of_newest_bar.decision.bar_open
    ):
        return f"{path}: its newest decision is not about its newest bar"
    return None
