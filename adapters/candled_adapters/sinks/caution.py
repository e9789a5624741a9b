"""When to try again what may have cost the connection. Pure; time is an argument.

Brokers there are that end a connection over one message or subscription that they do not grant,
and without a word: Mosquitto 2.0 does over a message at QoS 0. Signals share that connection.
"""

from __future__ import annotations

from typing import Final

_MOST_S: Final = 300.0


class Caution:
    """Allows a try at once when the last one went well, else after 1, 2, 4 ... 300 seconds."""

    def __init__(self) -> None:
        self.tries = 0
        """Tries in a row that did not end well, the present one included."""
        self._began_s = 0.0

    def begin(self, now_s: float) -> None:
        """Note that it is tried."""
        self.tries += 1
        self._began_s = now_s

    def well(self) -> None:
        """Note that it went well."""
        self.tries = 0

    @property
    def pause_s(self) -> float:
        """The pause after the last try (s)."""
        return min(_MOST_S, 2.0 ** (min(self.tries, 20) - 1)) if self.tries else 0.0

    def wait_s(self, now_s: float) -> float:
        """Return how many seconds to wait before the next try; 0 for none."""
        return max(0.0, self._began_s + self.pause_s - now_s) if self.tries else 0.0
