"""When to connect again, and what a row of lost connections means. Pure but for chance."""

from __future__ import annotations

import random
from typing import Final

from candled_adapters.sinks.mqtt_wire import LinkError, TakenOverError

_SUSPICIOUS: Final = 4  # a broker that restarts is away between two of its lives
_DOUBLINGS: Final = 30  # more would overflow


class Retry:
    """The pauses between connections: full jitter under a doubling limit, `least` to `most` (s).

    A connection that was well for `most` seconds ends the doubling. Who was thrown out because
    another client took over its id stays away for most of `most`: two daemons that fight for one
    id must not do so at full speed.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._attempt = 0
        self._short_lives = 0
        self.doubt = False
        """Whether the next connection shall be well for a while before it is called well."""

    def after(self, problem: LinkError, well_for: float | None) -> tuple[float, str]:
        """Return the pause (s) after a connection that ended, and what to say of it.

        `well_for` is how long (s) all was well with it; None: it never was.
        """
        stable = well_for is not None and well_for >= self._most
        self.doubt = isinstance(problem, TakenOverError)
        self._attempt = 0 if stable and not self.doubt else self._attempt + 1
        self._short_lives = 0 if stable or well_for is None else self._short_lives + 1
        text = str(problem)
        if self._short_lives >= _SUSPICIOUS and not self.doubt:
            text += (
                f"; so it went {self._short_lives} times in a row, soon after all was well: "
                "perhaps another client uses this client id, which not every broker says; stop it, "
                "or choose another mqtt.client_id"
            )
        return self._pause(), text

    def _pause(self) -> float:
        if self.doubt:
            return random.uniform(self._most / 2, self._most)
        limit = min(self._most, self._least * 2 ** min(self._attempt, _DOUBLINGS))
        return random.uniform(0, limit)
