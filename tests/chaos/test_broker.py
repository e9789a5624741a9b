"""A broker that refuses, drops or forgets: seen, said, and made good."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from brokers import needs_mosquitto
from chaos.figures import Figures
from chaos.journals import decided, until_decided
from chaos.logs import since
from chaos.plan import only_long
from chaos.programs import until
from chaos.scenes import TITLE, degraded_after, played, told, verdict_of
from chaos.world import PATIENCE_S, World, settle, until_healthy, until_ready

ALL_RIGHTS = "topic readwrite #\n"
NO_SIGNALS = "topic read #\ntopic write candled/status\ntopic write candled/info\n"
ACL = "acl_file {folder}/acl\npersistence false\n"
SMALL = "max_queued_messages 5\npersistence false\n"
FORGETFUL = "persistence false\n"
DROPPED = "Outgoing messages are being dropped for client"

pytestmark = [needs_mosquitto, only_long]


def test_a_right_that_is_taken_away_while_it_runs_is_said_and_made_good(
    tmp_path: Path, figures: Figures
):
    """A refused PUBACK is told with its mend, nothing counts as delivered, and all comes later."""
    (tmp_path / "acl").write_text(ALL_RIGHTS)

    async def scenario() -> tuple[World, float]:
        async with played(tmp_path, 20, conf=ACL) as w:
            await until_healthy(w, PATIENCE_S)
            await until_decided(w.state, 30, PATIENCE_S)
            began = time.time_ns()
            _set_rights(w, NO_SIGNALS)
            said_s = await degraded_after(w, began)
            await until(lambda: bool(_refusals(w, began)), PATIENCE_S, w.daemon.words)
            before = decided(w.state)
            await until_decided(w.state, before + 40, PATIENCE_S)
            _set_rights(w, ALL_RIGHTS)
            await settle(w)
            return w, said_s

    w, said_s = asyncio.run(scenario())
    verdict = verdict_of(w)
    figures.add(
        TITLE, [told(f"signals refused by ACL, reloaded (said after {said_s:.1f} s)", verdict)]
    )
    assert verdict.faultless, verdict
    assert said_s < 5


def _set_rights(w: World, rights: str) -> None:
    (w.stage.folder / "acl").write_text(rights)
    w.broker.reload()


def _refusals(w: World, began_ns: int) -> list[dict[str, Any]]:
    said = since(w.daemon, began_ns, "health")
    wanted = ("refused", "135", "grant write rights")
    return [line for line in said if all(word in str(line["reasons"]) for word in wanted)]


def test_what_the_broker_drops_for_a_slow_application_is_asked_for_again(
    tmp_path: Path, figures: Figures
):
    """The broker's queue overflows behind a frozen application, which later gets everything."""

    async def scenario() -> World:
        async with played(tmp_path, 21, conf=SMALL) as w:
            await until_decided(w.state, 30, PATIENCE_S)
            w.bot.freeze()
            try:
                await until(lambda: DROPPED in w.broker.log.read_text(), PATIENCE_S)
                await until_decided(w.state, decided(w.state) + 30, PATIENCE_S)
            finally:
                w.bot.thaw()
            await settle(w)
            return w

    w = asyncio.run(scenario())
    verdict = verdict_of(w)
    figures.add(TITLE, [told("broker's queue of 5 overflows", verdict)])
    assert verdict.faultless, verdict


def test_a_broker_that_forgets_everything_costs_nothing(tmp_path: Path, figures: Figures):
    """Sessions, queues and retained messages gone, signals meanwhile: the application gets all."""

    async def scenario() -> World:
        async with played(tmp_path, 22, conf=FORGETFUL) as w:
            for _ in range(3):
                await until_decided(w.state, decided(w.state) + 30, PATIENCE_S)
                w.bot.kill()
                w.broker.restart()
                await until_healthy(w, PATIENCE_S)
                await until_decided(w.state, decided(w.state) + 30, PATIENCE_S)
                w.bot.start()
                await until_ready(w, w.bot)
            await settle(w)
            return w

    w = asyncio.run(scenario())
    verdict = verdict_of(w)
    figures.add(
        TITLE, [told("broker forgets sessions and retained, application away, x 3", verdict)]
    )
    assert verdict.faultless, verdict
