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
    """The last closed bar pushed again with other values; dropped."""
    late: int = 0
    """Closed bars older than the last reported one, which had come by REST or were given up."""
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
    rest_requests: int = 0
    rest_failures: int = 0
    connects: int = 0
    """Connections that came up."""
    lost_connections: int = 0
    """Connections that ended, or could not be made."""
    control_errors: int = 0
    """Refusals of our own frames."""
    control_sample: str = ""
    """The last of them."""
