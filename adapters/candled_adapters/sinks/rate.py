"""How often who may ask: token buckets, one for each client and one for all. Pure.

Time is an argument: seconds of any clock that goes steadily. Nothing here knows what is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

_HAIR = 1e-9  # of a token: who waits as long as told must not fail by a rounding


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once after a pause, and so many a second for ever."""

    burst: int
    per_second: float

    @property
    def refill_s(self) -> float:
        """Seconds after which an empty bucket is full again."""
        return self.burst / self.per_second


class _Bucket:
    """Tokens as they were at one moment."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens: float = rate.burst
        self.used_s = float("-inf")
        """When the last token was taken."""

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until there is a token; 0 when there is one."""
        lacking = 1 - self._held(now_s)
        return lacking / self._rate.per_second if lacking > _HAIR else 0.0

    def take(self, now_s: float) -> None:
        """Take the token that there is."""
        self._tokens = self._held(now_s) - 1
        self.used_s = now_s

    def _held(self, now_s: float) -> float:
        grown = self._tokens + max(0.0, now_s - self.used_s) * self._rate.per_second
        return min(grown, self._rate.burst)


class Limiter:
    """Grants requests within the rates of `each` client and of all `together`.

    A client is remembered until its bucket must be full again, which is as good as a new one, so
    that nobody gains by being forgotten. What all may have together bounds how many that are.
    """

    def __init__(self, each: Rate, together: Rate) -> None:
        self._each = each
        self._together = _Bucket(together)
        self._clients: dict[str, _Bucket] = {}  # granted longest ago first

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        return len(self._clients)

    def ask(self, client: str, now_s: float) -> float:
        """Return 0 when a request is granted, else after how many seconds it may be.

        What is not granted costs nothing.
        """
        bucket = self._clients.get(client) or _Bucket(self._each)
        wait_s = max(bucket.wait_s(now_s), self._together.wait_s(now_s))
        if wait_s > 0:
            return wait_s
        self._together.take(now_s)
        bucket.take(now_s)
        self._clients.pop(client, None)
        self._clients[client] = bucket
        self._forget(now_s)
        return 0.0

    def _forget(self, now_s: float) -> None:
        while self._clients:
            client, bucket = next(iter(self._clients.items()))
            if now_s - bucket.used_s < self._each.refill_s:
                return
            del self._clients[client]
