"""The composition root: a configuration in, a running service out.

The only file of the live process that knows both sides of the ports. Read it top to bottom: load
what is configured, refuse what does not fit, build the parts, run them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from candled.ageing import Ageing
from candled.board import Board
from candled.challenge.challenger import Challenger
from candled.config import (
    Config,
    ExchangeConfig,
    load_config,
)
from candled.core.bar import DAY, Stream
from candled.core.decision import Target
from candled.core.engine import Engine, Lane
from candled.core.lane import Lineup
from candled.core.track import StreamDrift
from candled.driftwatch import DriftWatch
from candled.gauges import Instruments, exposition_of, sources_of
from candled.journal import Journal, open_journal
from candled.ledger import Ledger, TrackSettings
from candled.lineup import load_lineup
from candled.loopwatch import LoopWatch
from candled.notify import notify
from candled.outlets import Outlook, info_of, mqtt_settings, sinks_of
from candled.ports import Clock, Entry, Feed, Sink
from candled.reloading import After, Present, Reloader
from candled.service import BatchTimes, Observer, Service
from candled.statusline import keep_status
from candled.tally import Tally
from candled.targets import require_targets
from candled.telling import Tell, Teller
from candled.watchdog import keep_alive
from candled.window import Behind, Shown, window_of
from candled_adapters.exchanges.ccxt_venue import CcxtVenue
from candled_adapters.exchanges.registry import live_venue
from candled_adapters.feeds.backlog import Patience
from candled_adapters.feeds.ccxt_feed import CcxtFeed, CcxtSettings
from candled_adapters.feeds.feed import FeedSettings, VenueFeed
from candled_adapters.feeds.venuetime import VenueTime
from candled_adapters.sinks.log import configure_logging
from candled_adapters.sinks.mqtt import MqttSink

log = structlog.get_logger("candled")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A service and what its parts share."""

    config: Config
    service: Service
    journal: Journal
    board: Board
    tally: Tally
    watch: LoopWatch
    ledger: Ledger
    drift: Callable[[Stream], StreamDrift | None]
    """What is known of a stream's drift; nothing where nobody looks."""
    challenger: Challenger | None
    """None where no stream had one at the start."""

    def challengers(self) -> Mapping[Stream, Lane]:
        """Return the present challenger of each stream that has one."""
        return self.challenger.lanes if self.challenger else {}

    present: Present
    tell: Tell
    clocks: Callable[[str], Clock]
    after: Sequence[After]
    """What follows a reload."""


def run_daemon(path: Path) -> None:
    """Run the configured daemon until SIGTERM or SIGINT, then drain."""
    config = load_config(path)
    _start_logging(config)
    lineup = load_lineup(config, path)
    daemon = build(config, lineup)
    try:
        asyncio.run(_serve(daemon, path))
    finally:
        daemon.journal.close()


def _start_logging(config: Config) -> None:
    form = config.log.format
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    configure_logging(sys.stderr, form, config.log.level)


async def _serve(daemon: Daemon, source: Path) -> None:
    stop, reloader = asyncio.Event(), _reloader(daemon, source)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    streams = [lane.stream for lane in daemon.present.lanes]
    beside = {
        "loopwatch": daemon.watch.run(),
        "reloader": reloader.run(),
        "watchdog": keep_alive(lambda: daemon.service.work),
        "statusline": keep_status(daemon.board, streams),
    }
    helpers = [loop.create_task(work, name=name) for name, work in beside.items()]
    try:
        await daemon.service.run(stop)
    finally:
        for helper in helpers:
            helper.cancel()
    notify("STOPPING=1")
    log.info("summary", **asdict(daemon.tally.summary(daemon.watch.lateness())))


def _reloader(daemon: Daemon, source: Path) -> Reloader:
    return Reloader(
        source,
        daemon.present,
        load=load_lineup,
        swap=daemon.service.swap,
        board=daemon.board,
        tell=daemon.tell,
        clocks=daemon.clocks,
        after=daemon.after,
    )


def build(config: Config, lineup: Lineup) -> Daemon:
    """Build the object graph; opens the journal and nothing else."""
    lanes, challengers = lineup.champions, lineup.challengers
    board = Board(lambda: time.time_ns() // 1_000_000)
    tally, watch, present = Tally(), LoopWatch(), Present(config, lineup)
    tell = Teller(board, tally.met)
    ageing = Ageing(lambda: present.lanes, board, tell)
    feeds = [
        _feed(name, config.exchanges[name])
        for name in dict.fromkeys(lane.stream.exchange for lane in lanes)
    ]
    clocks = _clock_of({feed.exchange: feed.clock for feed in feeds})
    mqtt_settings(config)  # a missing secret is told before any state is made
    require_targets(config)
    journal = open_journal(config.state.path)
    targets = targets_of(lineup)
    ledger = Ledger(
        journal,
        tell=tell,
        clock=clocks,
        settings=TrackSettings(config.track.signals, config.track.alarm),
        targets=targets,
    )
    after: list[After] = [
        lambda: ageing.begin(journal.latest()),
        lambda: targets.update(targets_of(present.lineup)),
    ]
    try:
        challenger = (
            Challenger(challengers, journal, clocks, first=[MqttSink.name]) if challengers else None
        )
        outlook = Outlook(lanes, journal.epoch, clocks, tally, challenger, present)
        if challenger:
            after.append(lambda: challenger.replace(present.lineup.challengers))
        sinks = [*sinks_of(config, outlook), ledger]
        info = info_of(config, lanes, journal.epoch)
        instruments = Instruments(tally, watch, journal, clocks, config.state.path)
        drift, shown = drift_watch(config, lanes, tell), Shown(present)
        behind = Behind(lanes, info, sinks, board)
        watchers = _watchers(config, behind, instruments, ledger=ledger, drift=drift, shown=shown)
    except BaseException:
        journal.close()
        raise
    service = Service(
        engine=Engine(lanes, on_rows=drift.on_rows if drift else None),
        journal=journal,
        feeds=feeds,
        sinks=sinks,
        board=board,
        observer=_observer(tally, ageing),
        tell=tell,
        on_ready=lambda: notify("READY=1"),
        keep_ms=config.state.keep_days * DAY or None,
        watchers=watchers,
    )
    ageing.begin(journal.latest())
    return Daemon(
        config=config,
        service=service,
        journal=journal,
        board=board,
        tally=tally,
        watch=watch,
        ledger=ledger,
        drift=drift.drift if drift else lambda _: None,
        challenger=challenger,
        present=present,
        tell=tell,
        clocks=clocks,
        after=[*after, shown.renew],
    )


def targets_of(lineup: Lineup) -> dict[str, Target | None]:
    """Return what each model foresees, by its digest."""
    lanes = (*lineup.champions, *lineup.challengers)
    return {lane.model.digest: lane.model.target for lane in lanes}


def _observer(tally: Tally, ageing: Ageing) -> Observer:
    def observe(entries: Sequence[Entry], times: BatchTimes) -> None:
        tally.durable(entries, times)
        ageing.look(entries)

    return observe


def drift_watch(config: Config, lanes: Sequence[Lane], tell: Tell) -> DriftWatch | None:
    """Build what watches drift, unless that is off."""
    part = config.track
    if part.drift == "off":
        return None
    return DriftWatch(lanes, config.state.path, part.drift_rows, tell)


def _watchers(
    config: Config,
    behind: Behind,
    instruments: Instruments,
    *,
    ledger: Ledger,
    drift: DriftWatch | None,
    shown: Shown,
) -> list[Sink]:
    """Return who only looks: at drift, and the window, if there is one, with what is counted."""
    lookers: list[Sink] = [drift] if drift else []
    if not config.web.listen:
        return lookers
    seen: dict[str, Any] = {
        "cards": lambda: shown.cards,
        "tracks": ledger.track,
        "challenger_tracks": ledger.challenger_track,
        "drift": drift.drift if drift else lambda _: None,
    }
    metrics = exposition_of(sources_of(behind, instruments, **seen))
    more = {**seen, "model": shown.model, "outcomes": ledger.outcomes}
    return [*lookers, *window_of(config, behind, metrics=metrics, **more)]


def _clock_of(clocks: Mapping[str, Clock]) -> Callable[[str], Clock]:
    """Find an exchange's clock; the journal may hold entries of one that is not configured now."""
    wall_time = VenueTime(lambda: None)
    return lambda exchange: clocks.get(exchange, wall_time)


def _feed(name: str, config: ExchangeConfig) -> Feed:
    venue = live_venue(config.dialect)
    patience = _patience(config)
    if isinstance(venue, CcxtVenue):
        return CcxtFeed(
            name,
            venue,
            websocket_base=config.ws_url,
            rest_base=config.rest_url,
            settings=CcxtSettings(patience=patience, max_skew_s=config.max_skew_s),
        )
    return VenueFeed(
        name,
        venue,
        websocket_base=config.ws_url or venue.websocket_base,
        rest_base=config.rest_url or venue.rest_base,
        settings=FeedSettings(patience=patience, max_skew_s=config.max_skew_s),
    )


def _patience(config: ExchangeConfig) -> Patience:
    usual = Patience()
    return replace(
        usual,
        audit_reach=0 if config.audit == "off" else usual.audit_reach,
        audit_corrects=config.audit == "correct",
        max_jump=config.max_jump,
    )
