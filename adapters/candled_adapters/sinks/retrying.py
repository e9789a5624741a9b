"""What an HTTP answer means for a message, and when to try again. Pure: time is an argument."""

from __future__ import annotations

import datetime as dt
import email.utils
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_TRY_AGAIN: Final = frozenset({408, 425, 429})
_LONGEST_WAIT_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The target has it."""


@dataclass(frozen=True, slots=True)
class Again:
    """The target may take it later."""

    reason: str
    wait_s: float = 0.0
    """How long it wants to be left alone (s)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The target will never take it."""

    reason: str


Outcome = Taken | Again | Refused


def outcome_of(status: int, headers: Mapping[str, str], now_s: float) -> Outcome:
    """Tell what an answer means; `headers` finds names in any case, `now_s` is Unix time."""
    if 200 <= status < 300:  # noqa: PLR2004 - the digits are the meaning
        return Taken()
    if status in _TRY_AGAIN or status >= 500:  # noqa: PLR2004
        return Again(f"answered {status}", retry_after(headers.get("retry-after"), now_s))
    if 300 <= status < 400:  # noqa: PLR2004
        return Refused(f"answered {status}: it redirects, which is not followed; set the new url")
    return Refused(f"answered {status}")


def retry_after(text: str | None, now_s: float) -> float:
    """Return the seconds that a Retry-After asks for: a number or a date; 0 for any other text."""
    if text is None:
        return 0.0
    if text.strip().isascii() and text.strip().isdigit():
        return min(float(text), _LONGEST_WAIT_S)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:  # "-0000": in UTC, says RFC 5322
        moment = moment.replace(tzinfo=dt.UTC)
    return min(max(0.0, moment.timestamp() - now_s), _LONGEST_WAIT_S)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause after failures in a row."""

    first_s: float = 0.5
    """Longest pause after the first failure (s); it doubles up to `most_s`."""
    most_s: float = 15.0

    def pause(self, failures: int, chance: float, wait_s: float = 0.0) -> float:
        """Return the pause (s) after so many failures; `chance` is drawn from 0 to 1.

        At least a half of the limit and never less than `wait_s`, to which the chance is added:
        a thousand clients must not come back in the same moment.
        """
        limit = min(self.most_s, self.first_s * math.ldexp(1.0, min(max(failures, 1), 60) - 1))
        drawn = limit * (0.5 + 0.5 * chance)
        return drawn if wait_s <= 0 else wait_s + min(drawn, 0.1 * wait_s)
