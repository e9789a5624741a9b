"""What is answered to which request. Looks at facts, changes nothing; knows no socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote

from websockets.http11 import Response

from candled.core.bar import Stream
from candled.ports import HealthBoard, Outbox, ServiceState, StreamState
from candled_adapters.web import rendering, shapes
from candled_adapters.web.answers import answer, problem
from candled_adapters.web.files import Asset
from candled_adapters.web.following import MOST_BARS, Follower, Reading
from candled_adapters.web.seat import Identity, Sources
from candled_adapters.web.view import View, encode

_USUAL_BARS: Final = 500
_SHOWN: Final = 20  # reasons; the rest are counted


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's parts that matter."""

    path: str
    """With its query, as it came."""
    accept: str
    accept_encoding: str
    if_none_match: str


class Desk:
    """Answers requests from the view, the board and the archive."""

    def __init__(
        self,
        identity: Identity,
        sources: Sources,
        files: Mapping[str, Asset],
        *,
        view: View,
        outbox: Outbox,
        board: HealthBoard,
    ) -> None:
        self._identity = identity
        self._sources = sources
        self._files = files
        self._view = view
        self._outbox = outbox
        self._board = board

    def service(self) -> shapes.Service:
        """Return how the whole is."""
        ends = self._view.position
        sinks = [
            shapes.Sink(name=name, behind=max(0, ends - self._outbox.position(name)))
            for name in self._sources.backlogs
        ]
        return rendering.service(self._board.health, self._board.failure, sinks)

    def waiting(self) -> list[str]:
        """Return what has to come before the start is over, for people; nothing once it is."""
        warming = [
            f"{stream.path}: waits for its history"
            for stream in self._view.streams
            if (health := self._board.stream(stream)) is None or health.state is StreamState.WARMING
        ]
        failure = self._board.failure
        reasons = ([failure] if failure else []) + [*self._sources.waiting(), *warming]
        if len(reasons) > _SHOWN:
            reasons[_SHOWN:] = [f"and {len(reasons) - _SHOWN} more"]
        return reasons

    def overview(self) -> bytes:
        """Return the `Overview` as JSON; its lines should have been rendered before."""
        said = {
            "type": "overview",
            "version": self._identity.version,
            "epoch": self._outbox.epoch,
            "config_digest": self._identity.config_digest,
            "started": self._identity.started,
            "now": self._sources.wall_ms(),
            "ready": not self.waiting(),
            "service": self.service(),
            "lines": [self._view.line(stream) for stream in self._view.streams],
            "cards": self._sources.cards(),
            "events": [rendering.happened(notice) for notice in self._view.events],
        }
        return encode(said)

    def plain(self, path: str) -> Response | None:
        """Answer what needs nothing but what is in memory; None: it is something else."""
        if path == "/healthz":
            return self._health()
        if path == "/readyz":
            reasons = self.waiting()
            said = {"ready": not reasons, "reasons": reasons}
            return answer(503 if reasons else 200, encode(said))
        return None

    def _health(self) -> Response:
        health, failure = self._board.health, self._board.failure
        state = ServiceState.OFFLINE if failure else health.state
        reasons = ([failure] if failure else []) + list(health.reasons)
        said = {"state": state.value, "reasons": reasons, "since": health.since_ms}
        return answer(503 if failure else 200, encode(said))

    def file(self, asked: Asked) -> Response | None:
        """Answer with one of the page's files; None: there is no such file."""
        asset = self._files.get(asked.path.partition("?")[0])
        return asset.answer(asked.if_none_match, asked.accept_encoding) if asset else None

    async def metrics(self, asked: Asked) -> Response:
        """Answer with the figures for Prometheus."""
        if self._sources.metrics is None:
            return problem(404, "there are no metrics here")
        body, content_type = await self._sources.metrics(asked.accept)
        return answer(200, body, content_type)


async def history(asked: Asked, view: View, follower: Follower, reading: Reading) -> Response:
    """Answer with the newest bars of one stream."""
    path, _, query = asked.path.partition("?")
    names = [unquote(part) for part in path.split("/")[3:]]
    stream = Stream(*names) if len(names) == 3 else None  # noqa: PLR2004 - of a stream's path
    if stream is None or stream not in view:
        text = "there is no such stream here; /api/overview names all, as exchange/symbol/interval"
        return problem(404, text)
    count = _count(query)
    if count is None:
        return problem(400, f"bars must be a whole number from 1 to {MOST_BARS}")
    past = await reading.ask(lambda: reading.archive.past(stream, count))
    outcomes = follower.recent(stream, count) if past.outcomes is None else past.outcomes

    def body() -> bytes:
        said = shapes.History(
            stream=stream.path,
            bars=rendering.bar_rows(past.bars),
            decisions=rendering.newest(past.entries),
            outcomes=tuple(map(rendering.resolved, outcomes)),
        )
        return encode(said)

    return answer(200, await reading.ask(body))


def _count(query: str) -> int | None:
    """Return how many bars are asked for; None where that is no sane number."""
    asked: Sequence[str] = parse_qs(query, keep_blank_values=True).get("bars", [])
    if not asked:
        return _USUAL_BARS
    if len(asked) > 1 or not asked[0].isascii() or not asked[0].isdigit() or len(asked[0]) > 4:  # noqa: PLR2004
        return None
    count = int(asked[0])
    return count if 1 <= count <= MOST_BARS else None
