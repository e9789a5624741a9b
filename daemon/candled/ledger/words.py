"""What people are told of a model's signals, in words and with numbers. Pure."""

from __future__ import annotations

from candled.core.track import Track


def broken_words(track: Track) -> str:
    """Say that signals turn out worse than claimed."""
    return f"signals turn out worse than claimed, beyond chance: {figures(track)}"


def mended_words(track: Track) -> str:
    """Say that signals turn out as claimed again."""
    return f"signals turn out as claimed again: {figures(track)}"


def figures(track: Track) -> str:
    """Say how a record compares with what was claimed."""
    said = f"of the newest {track.n} signals {_share(track.hit_rate)} were right"
    if track.low is not None:
        said += f" ({_share(track.low)} to {_share(track.high)})"
    said += f", claimed were {_share(track.claimed)}; a trade brought {_percent(track)} gross"
    if track.claimed_pct is not None:
        said += f", claimed were {track.claimed_pct:+.2f} %"
    return said


def _share(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f} %"


def _percent(track: Track) -> str:
    return "?" if track.expectancy_pct is None else f"{track.expectancy_pct:+.2f} %"
