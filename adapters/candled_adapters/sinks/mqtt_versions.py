"""Which MQTT to speak: 5, or 3.1.1 with brokers that know no better. Pure; time is an argument.

With `auto`, 5 is asked for first. A broker that refuses it in words is asked again with 3.1.1, one
that hangs up without a word after the second time: once may be a restart. 3.1.1 is then kept for
ten minutes' worth of new connections, and 5 tried again after that, because a broker that was
replaced by a better one should not have to wait for a restart of ours.
"""

from __future__ import annotations

from typing import Final, Literal

Version = Literal["5", "3.1.1"]
Choice = Literal["auto", "5", "3.1.1"]

#: What a consumer has to do without when the broker speaks 3.1.1.
LOSSES: Final = (
    "no message expiry: heads are not retained, signals may be handed out after their valid_until",
    "no reason codes: a refused message is not told, so rights are proven once a connection",
    "no properties: a request for replay must name reply_to in its payload",
)
_KEPT_S: Final = 600.0
_SILENCES: Final = 2


class Versions:
    """Remembers what the broker said to which version."""

    def __init__(self, choice: Choice = "auto") -> None:
        self.choice = choice
        self.current: Version | None = None
        """Of the last connection that came about."""
        self.asks_again = False
        """Whether the last one did not, and asking once more may get another answer."""
        self._older_until: float | None = None
        self._silences = 0

    @property
    def losses(self) -> tuple[str, ...]:
        """What the present version cannot do."""
        return LOSSES if self.current == "3.1.1" else ()

    def choose(self, now: float) -> Version:
        """Return the version to connect with at `now` (s, monotonic)."""
        self.asks_again = False
        if self.choice != "auto":
            return self.choice
        older = self._older_until is not None and now < self._older_until
        return "3.1.1" if older else "5"

    def accepted(self, version: Version) -> bool:
        """Note that a connection stands; True when the last one spoke another version."""
        if version == "5":
            self._silences = 0
            self._older_until = None
        news, self.current = version != self.current, version
        return news

    def refused(self, version: Version, now: float, *, in_words: bool) -> None:
        """Note that a connection did not come about because of its version, or perhaps so."""
        if version == "3.1.1":
            self._silences = 0
            self._older_until = None
            return
        self.asks_again = self.choice == "auto"
        self._silences += 1
        if in_words or self._silences >= _SILENCES:
            self._older_until = now + _KEPT_S
