"""The log: one JSON line for each decision, and the service's own events beside it.

Both go through structlog, which nothing else here knows. A decision's line has the names of the
payloads on the wire::

    {"event":"decision","id":"7c6d...","epoch":"e1","exchange":"binance","symbol":"BTCUSDT", ...,
     "seq":7,"side":"long","reason":null,"probabilities":{"no_trade":0.21, ...}}

A correction's line is an event "correction", with its `revision` and what it `supersedes` besides.
Lines are written and flushed before they are marked as done, so a crash repeats some (with the same
id) and loses none.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TextIO

import msgspec
import structlog

from candled.core.text import visible
from candled.ports import Entry, HealthBoard, Outbox
from candled_adapters.sinks import payload
from candled_adapters.sinks.rotating import RotatingFile

ROUND: Final = 1_000
_RETRY_S: Final = 1.0
_SECRET: Final = ("password", "secret", "token", "credential", "api_key", "apikey")
_HIDDEN: Final = "[hidden]"
_LONG_TEXTS: Final = ("exception", "stack")
_URL_SECRET: Final = re.compile(r"(://[^/\s:@]*:)[^/\s]+@")

EventDict = MutableMapping[str, Any]


class Stream(Protocol):
    """Takes text; what of a text file the log needs."""

    def write(self, text: str, /) -> object:
        """Take some text."""
        ...

    def flush(self) -> object:
        """Hand over to the system what was taken."""
        ...


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where decisions are logged."""

    path: Path | None = None
    """A file, or None for standard output."""
    max_bytes: int = 50 * 1024 * 1024
    """The file is set aside before it grows beyond this."""
    backups: int = 5
    """How many files that were set aside are kept, as ``path.1`` (newest) and so on."""


class LogSink:
    """Writes a line for each entry of the journal, in order."""

    name = "log"

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Write until cancelled. What cannot be written is reported, and tried again."""
        while True:
            try:
                with self._opened() as stream:
                    board.report(self.name, None)
                    await self._follow(outbox, stream)
            except OSError as error:
                board.report(self.name, f"cannot write {self._place}: {error.strerror or error}")
                await asyncio.sleep(_RETRY_S)

    def _opened(self) -> AbstractContextManager[Stream]:
        settings = self._settings
        if settings.path is None:
            return nullcontext(sys.stdout)
        return RotatingFile(settings.path, settings.max_bytes, settings.backups)

    @property
    def _place(self) -> str:
        return str(self._settings.path or "standard output")

    async def _follow(self, outbox: Outbox, stream: Stream) -> None:
        log = decision_logger(stream)
        done = outbox.position(self.name)
        while True:
            entries = outbox.after(done, ROUND)
            for entry in entries:
                kind = "correction" if entry.decision.supersedes else "decision"
                log.info(kind, **decision_fields(entry, outbox.epoch))
            stream.flush()
            if entries:
                done = entries[-1].position
                outbox.mark(self.name, done)
            await outbox.wait(done)


def decision_fields(entry: Entry, epoch: str) -> dict[str, Any]:
    """Return the names and values of a decision's line, or of a correction's."""
    of = payload.correction if entry.decision.supersedes else payload.record
    said = of(entry, epoch)
    return {name: getattr(said, name) for name in said.__struct_fields__}


def decision_logger(stream: Stream) -> structlog.typing.FilteringBoundLogger:
    """Return a logger that writes its events to `stream`, a line of JSON each, without flushing.

    It is independent of the configuration of the service's own events.
    """
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        _Lines(stream),
        processors=[_event_first, _json],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger.bind()


def configure_logging(
    stream: TextIO, renderer: Literal["json", "console"] = "json", level: str = "info"
) -> None:
    """Send the service's own events to `stream`, and what libraries warn of as well.

    Values under names like password, secret or token are hidden, and so are passwords in URLs.
    Tracebacks show no values of variables. Raises ValueError for an unknown level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}; use debug, info, warning or error")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending = _ending(stream, renderer)
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    _route_libraries(stream, shared, ending)


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Hide secrets, as a structlog processor: by name at any depth, and in URLs."""
    return {name: _without_secrets(name, value) for name, value in event.items()}


def _without_secrets(name: object, value: object) -> object:
    if isinstance(name, str) and any(word in name.lower() for word in _SECRET):
        return value if value is None else _HIDDEN
    if isinstance(value, str):
        return _URL_SECRET.sub(rf"\1{_HIDDEN}@", value)
    if isinstance(value, Mapping):
        return {key: _without_secrets(key, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(None, inner) for inner in value]
    return value


class _Lines:
    """What structlog calls a logger: takes rendered lines."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(line + "\n")

    info = warning = error = msg


def _only_visible(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape what would forge lines or steer a terminal; JSON has an escape for it anyway."""
    return {name: _seen(name, value) for name, value in event.items()}


def _seen(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value  # the renderer shows it as Python writes it
    return visible(value, "\n" if name in _LONG_TEXTS else "")


def _event_first(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {"event": event.pop("event"), **event}


def _json(_logger: object, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _ending(stream: TextIO, renderer: str) -> list[structlog.typing.Processor]:
    if renderer == "json":
        return [structlog.processors.format_exc_info, redact, _event_first, _json]
    plain = structlog.dev.plain_traceback  # the default one prints variables, passwords included
    return [
        structlog.processors.format_exc_info,
        redact,
        _only_visible,
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain),
    ]


def _route_libraries(
    stream: TextIO,
    shared: list[structlog.typing.Processor],
    ending: list[structlog.typing.Processor],
) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
