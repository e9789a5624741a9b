"""A fetch as data: what was wanted, and what came of it, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from candled.core.bar import Bars, Interval, Stream, iso
from candled.offline.files import span
from candled_adapters.candles import slots


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What to fetch."""

    exchange: str
    symbol: str
    interval: Interval
    since: int
    """UTC ms."""
    until: int | None
    """UTC ms, exclusive; None for all that has closed."""
    out: Path
    rest_url: str | None = None
    """Instead of the venue's own."""

    @property
    def part(self) -> Path:
        """Where the unfinished file lies."""
        return self.out.with_name(self.out.name + ".part")

    @property
    def stream(self) -> Stream:
        """Whose bars."""
        return Stream(self.exchange, self.symbol, self.interval.name)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of it."""

    options: FetchOptions
    bars: Bars
    """All of the file."""
    new: int
    """How many of them came with this command."""
    stored: int
    """How many were in the file before any of its part."""
    until: int
    """End of what was asked for: no later than the venue's time (UTC ms)."""
    ends_early: bool
    """Whether closed bars are absent at the end of what was asked for."""
    requests: int

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """Absent slots; `confirmed`: the venue was asked twice and has no such bars."""
        before = int(self.bars.open_time[self.stored - 1]) if self.stored else 0
        return [
            {"from": iso(first), "bars": count, "confirmed": first > before}
            for first, count in slots.gaps(self.options.interval, self.bars.open_time)
        ]

    def as_json(self) -> str:
        """Return it for programs."""
        options, opens = self.options, self.bars.open_time
        about = {
            "file": str(options.out),
            "exchange": options.exchange,
            "symbol": options.symbol,
            "interval": options.interval.name,
            "since": iso(options.since),
            "until": iso(self.until),
            "bars": len(opens),
            "new": self.new,
            "first": iso(int(opens[0])),
            "last": iso(int(opens[-1])),
            "ends_early": self.ends_early,
            "gaps": self.gaps,
            "requests": self.requests,
        }
        return json.dumps(about)

    def as_text(self) -> str:
        """Return it for people."""
        options, opens, gaps = self.options, self.bars.open_time, self.gaps
        lines = [f"{options.out}: {len(opens)} bars {span(self.bars)}, {self.new} of them new"]
        if opens[0] >= options.since + options.interval.typical_ms and not self.stored:
            lines.append(f"the venue has no earlier bars than {iso(int(opens[0]))}")
        if self.ends_early:
            lines.append(f"the venue has no bars after {iso(int(opens[-1]))}")
        absent = sum(gap["bars"] for gap in gaps)
        lines.append(f"{len(gaps)} gaps, {absent} bars absent" if gaps else "no gaps")
        for gap in gaps:
            sure = "confirmed absent" if gap["confirmed"] else "in the file before, not asked again"
            lines.append(f"  {gap['from']}  {gap['bars']:6}  {sure}")
        return "\n".join(lines)
