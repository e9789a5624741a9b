"""When the machine of one stream asks REST: at once, ever more slowly, or not for a reason. Pure.

Times are local seconds and arguments. What a due bar means for it is the machine's to know.
"""

from __future__ import annotations

from candled_adapters.feeds.backlog import Patience


class Asking:
    """One question at a time, and when the next one is wanted."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.under_way = False
        """Whether an answer is waited for."""
        self.at_s: float | None = None
        """When there is a reason to ask; None when there is none but that a bar may be due."""
        self.not_before_s = 0.0
        """A due bar alone is no reason to ask before this."""
        self.fresh_after_s = 0.0
        """The server time must have been asked for after this."""
        self.attempts = 0
        """How often was asked since something was learned."""

    def at(self, at_s: float) -> None:
        """Want to ask at a time."""
        self.at_s = self.fresh_after_s = at_s

    def again(self, now_s: float) -> None:
        """Want to ask once more, later than the last time."""
        self.at(now_s + self._delay())

    def hurry(self, now_s: float) -> None:
        """Want to ask at once if that is not near anyway: something new was heard."""
        if self.at_s is None or self.at_s > now_s + self._patience.first_retry_s:
            self.attempts = 0
            self.at(now_s)

    def at_ease(self, now_s: float) -> None:
        """Have no reason to ask; the next due bar gives one, if that is not too soon."""
        self.at_s = None
        self.not_before_s = now_s + self._delay()

    def learned(self) -> None:
        """Begin to count anew."""
        self.attempts, self.not_before_s = 0, 0.0

    def begin(self, now_s: float) -> None:
        """Take note that the question goes out now."""
        if self.at_s is None:
            self.fresh_after_s = now_s
        self.under_way, self.at_s = True, None

    def _delay(self) -> float:
        delay = self._patience.first_retry_s * 2.0 ** min(self.attempts, 16)
        self.attempts += 1
        return min(delay, self._patience.last_retry_s)
