"""What a feed counts, for status and for people. Numbers and samples only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SourceStats:
    """Counters of one feed since it was made; only ever rising."""

    frames: int = 0
    """Frames received."""
    open_frames: int = 0
    """Of them, frames about bars that are still open."""
    malformed: int = 0
    """Frames and answers that no document explains."""
    malformed_sample: str = ""
    """What was wrong with the last of them."""
    unasked: int = 0
    """Closed bars of streams that nobody subscribed to."""
    duplicates_same: int = 0
    """Closed bars pushed again, unchanged; dropped."""
    duplicates_changed: int = 0
    """Closed bars pushed again with other values; dropped, the audit is asked."""
    overlapped: int = 0
    """Closed bars that a second connection pushed as well, while it took over."""
    late: int = 0
    """Closed bars of a slot that was passed long ago, or that never was by the venue's history."""
    quarantined: int = 0
    """Bars that broke a rule at the door."""
    quarantined_sample: str = ""
    """The last of them, and the rule."""
    overflowed: int = 0
    """Pushes dropped from a full buffer; REST brings their bars."""
    gaps: int = 0
    """Holes that the venue's own history confirmed."""
    refetches: int = 0
    """Times that REST was asked because a push was missing while live."""
    audits: int = 0
    """Answers that were compared with the bars that went out."""
    revised: int = 0
    """Bars that the venue's history shows with other numbers than those that went out."""
    vanished: int = 0
    """Bars that went out and that the venue's history lacks."""
    rest_requests: int = 0
    rest_failures: int = 0
    connects: int = 0
    """Connections that came up."""
    lost_connections: int = 0
    """Connections that ended, or could not be made; those that were handed over do not count."""
    control_errors: int = 0
    """Refusals of our own frames."""
    control_sample: str = ""
    """The last of them."""
