"""The topics of protocol v1: who says what where. Pure names; no broker is known here.

| topic | retained | QoS | what |
|---|---|---|---|
| ``{base}/status`` | yes, and the will | 1 | online, degraded or offline |
| ``{base}/info`` | yes | 1 | what is running |
| ``{base}/signal/{exchange}/{symbol}/{interval}`` | never | 1 | each long and short |
| ``{base}/head/{exchange}/{symbol}/{interval}`` | yes, with expiry | 0 | the newest decision |
| ``{base}/event/{exchange}/{symbol}/{interval}`` | no | 1 | each correction of a decision |
| the same, or ``{base}/event/{exchange}`` | no | 0 | incidents, as far as they get |
| ``{base}/digest/{exchange}/{interval}`` | no | 0 | all decisions of one close |
| ``{base}/replay/request`` | no | 1 | who missed signals asks for them |
| ``{base}/replay/response/{client}`` | no | 1 | and gets them |
| ``{base}/shadow/{exchange}/{symbol}/{interval}`` | never | 1 | what a challenger would signal |
| ``{base}/check/{client}`` | no | 1 | the daemon tries its rights: to be ignored |

A signal is never retained: a bot that reconnects would act on an hours-old one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """The names below one base topic. A `stream` is ``exchange/symbol/interval``."""

    base: str = "candled"

    @property
    def status(self) -> str:
        """Whether the service can be relied on."""
        return f"{self.base}/status"

    @property
    def info(self) -> str:
        """What is running."""
        return f"{self.base}/info"

    def signal(self, stream: str) -> str:
        """Name where a stream's signals are, or several streams' with wildcards."""
        return f"{self.base}/signal/{stream}"

    def head(self, stream: str) -> str:
        """Name where a stream's newest decision is, or several streams' with wildcards."""
        return f"{self.base}/head/{stream}"

    def event(self, about: str) -> str:
        """Name where corrections and incidents about a stream or an exchange are."""
        return f"{self.base}/event/{about}"

    def digest(self, exchange: str, interval: str) -> str:
        """Name where all decisions of one close are."""
        return f"{self.base}/digest/{exchange}/{interval}"

    @property
    def replay_request(self) -> str:
        """Where missed signals are asked for."""
        return f"{self.base}/replay/request"

    def replay_response(self, client: str) -> str:
        """Name where `client` gets them; the daemon answers nowhere else."""
        return f"{self.base}/replay/response/{client}"

    def shadow(self, stream: str) -> str:
        """Name where a stream's challenger says what it would signal: never a reason to trade."""
        return f"{self.base}/shadow/{stream}"

    def check(self, client: str) -> str:
        """Name where `client` tries whether its messages come back; others ignore them."""
        return f"{self.base}/check/{client}"
