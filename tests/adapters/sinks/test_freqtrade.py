"""Orders to freqtrade, against a bot that keeps to what freqtrade's source says of its interface.

The models have the fields of freqtrade/rpc/api_server/api_schemas.py, the rules are those of
freqtrade/rpc/rpc.py (`_rpc_force_entry`, `_rpc_force_exit`) and of api_trading.py's rate limits.
"""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from candled.core.decision import Side
from candled_adapters.sinks.freqtrade import FreqtradeCourier
from candled_adapters.sinks.orders import Wanted, orders_of
from candled_adapters.sinks.retrying import Again, Backoff
from candled_adapters.sinks.webhook import WebhookSink
from candled_adapters.sinks.webhook_wire import WireSettings, open_wire
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from hooks import HANG, Receiver, Reply, Request, receiver

USER, PASSWORD = "candled", "pass:wörd"


class ForceEnterPayload(BaseModel):
    model_config = ConfigDict(extra="forbid")  # freqtrade would overlook a misspelt field
    pair: str
    side: Literal["long", "short"] = "long"
    price: float | None = None
    ordertype: Literal["limit", "market"] | None = None
    stakeamount: float | None = None
    entry_tag: str | None = None
    leverage: float | None = None


class ForceExitPayload(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tradeid: str | int
    ordertype: Literal["limit", "market"] | None = None
    amount: float | None = None
    price: float | None = None


class RpcError(Exception):
    """What freqtrade's `RPCException` is: the bot says no, with 502."""


@dataclass
class Bot:
    """A freqtrade bot."""

    market: str = "spot"
    adjusts: bool = False
    """`position_adjustment_enable`: an entry for an open pair adds to it."""
    running: bool = True
    entry_enabled: bool = True
    trades: list[dict] = field(default_factory=list)
    bought: list[tuple[str, str]] = field(default_factory=list)
    """Every entry order that went to the exchange: (pair, tag)."""
    left: list[int] = field(default_factory=list)

    @property
    def open(self) -> list[dict]:
        return [trade for trade in self.trades if trade["is_open"]]

    def __call__(self, request: Request) -> Reply:
        proof = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {proof}":
            return Reply(401, b'{"detail":"Unauthorized"}')
        path, _, query = request.target.partition("?")
        try:
            answer = self._routes(request.method, path, query, request.body)
        except ValidationError as error:
            return Reply(422, json.dumps({"detail": str(error)[:100]}).encode())
        except RpcError as error:
            text = f"Error querying {path}: {error}"
            return Reply(502, json.dumps({"error": text}).encode())
        return answer if isinstance(answer, Reply) else Reply(200, json.dumps(answer).encode())

    def _routes(self, method: str, path: str, query: str, body: bytes) -> object:
        match method, path.removeprefix("/api/v1"):
            case "GET", "/status":
                return self.open
            case "GET", "/trades":
                assert query == "limit=100&order_by_id=false"
                closed = [trade for trade in self.trades if not trade["is_open"]]
                return {"trades": closed, "trades_count": len(closed)}
            case "POST", "/forceenter":
                return self._enter(ForceEnterPayload.model_validate_json(body))
            case "POST", "/forceexit":
                return self._exit(ForceExitPayload.model_validate_json(body))
        return Reply(404)

    def _enter(self, wish: ForceEnterPayload) -> dict:
        if not self.entry_enabled:
            raise RpcError("Force_entry not enabled.")
        if not self.running:
            raise RpcError("trader is not running")
        if wish.side == "short" and self.market == "spot":
            raise RpcError("Can't go short on Spot markets.")
        held = [trade for trade in self.open if trade["pair"] == wish.pair]
        if held and not self.adjusts:
            raise RpcError(f"position for {wish.pair} already open - id: {held[0]['trade_id']}")
        self.bought.append((wish.pair, wish.entry_tag or ""))
        if held:
            return held[0]
        trade = {
            "trade_id": len(self.trades) + 1,
            "pair": wish.pair,
            "is_open": True,
            "is_short": wish.side == "short",
            "enter_tag": wish.entry_tag or "force_entry",
        }
        self.trades.append(trade)
        return trade

    def _exit(self, wish: ForceExitPayload) -> dict:
        if not self.running:
            raise RpcError("trader is not running")
        assert wish.tradeid != "all", "would leave trades that are none of ours"
        for trade in self.open:
            if trade["trade_id"] == int(wish.tradeid):
                trade["is_open"] = False
                self.left.append(trade["trade_id"])
                return {"result": f"Created exit order for trade {wish.tradeid}."}
        raise RpcError("invalid argument")


@dataclass
class Scene:
    """A sink that speaks to a bot."""

    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    clock: FixedClock = field(default_factory=lambda: FixedClock(EVENING_MS + 60_041))
    board: Board = field(default_factory=Board)
    market: Literal["spot", "futures"] = "spot"
    pairs: dict[str, str] = field(default_factory=dict)
    password: str = PASSWORD

    @asynccontextmanager
    async def running(self, target: Receiver):
        wire_settings = WireSettings(
            url=target.url.removesuffix("/hook"), username=USER, password=self.password
        )

        @asynccontextmanager
        async def way(_epoch: str):
            async with open_wire(wire_settings) as wire:
                yield FreqtradeCourier(wire, self.market, self.pairs)

        sink = WebhookSink(
            "bot", wire_settings.place, Wanted(), way, lambda _: self.clock,
            timeout=0.5, backoff=Backoff(0.01, 0.02),
        )  # fmt: skip
        task = asyncio.create_task(sink.run(self.outbox, self.board))
        try:
            yield
        finally:
            await ended(task)

    async def done(self) -> None:
        last = self.outbox.entries[-1].position
        await until(lambda: self.outbox.position("webhook:bot") >= last)


def play(scene: Scene, script, *entries) -> Receiver:
    """Let the sink deliver `entries` to a bot."""
    scene.outbox = MemoryOutbox(entries)

    async def main() -> Receiver:
        async with receiver(script) as target, scene.running(target):
            await scene.done()
            return target

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_a_long_and_a_short_are_entered_with_the_signals_tag():
    """On a futures bot, whose pairs name what they settle in."""
    decisions, bot = Decisions(), Bot(market="futures")
    long = decisions.make(Side.LONG)
    play(Scene(market="futures"), bot, long)
    assert bot.trades == [
        {"trade_id": 1, "pair": "BTC/USDT:USDT", "is_open": True, "is_short": False,
         "enter_tag": f"candled:{long.decision.id}"}
    ]  # fmt: skip
    bot.trades.clear()
    play(Scene(market="futures", pairs={"BTCUSDT": "XBT/USD:XBT"}), bot, decisions.make(Side.SHORT))
    assert (bot.trades[0]["pair"], bot.trades[0]["is_short"]) == ("XBT/USD:XBT", True)


def test_a_signal_taken_back_leaves_its_own_trade_and_no_other():
    """Whoever else trades on this bot, and on this pair before, keeps his trades."""
    decisions, bot = Decisions(), Bot(market="futures")
    bot.trades.append({"trade_id": 1, "pair": "ETH/USDT:USDT", "is_open": True, "enter_tag": "me"})
    long = decisions.make(Side.LONG)
    scene = Scene(market="futures")
    scene.outbox = MemoryOutbox([long])

    async def main() -> None:
        async with receiver(bot) as target, scene.running(target):
            await scene.done()
            assert len(bot.open) == 2
            scene.outbox.add(decisions.correct(long, Side.SHORT))
            await scene.done()

    asyncio.run(asyncio.wait_for(main(), 20))
    assert bot.left == [2]
    assert [(trade["pair"], trade.get("is_short")) for trade in bot.open] == [
        ("ETH/USDT:USDT", None), ("BTC/USDT:USDT", True),
    ]  # fmt: skip


def test_an_entry_never_adds_to_a_position():
    """Where freqtrade would add to what is open, even on the other side, nothing is asked."""
    decisions, bot = Decisions(), Bot(market="futures", adjusts=True)
    scene = Scene(market="futures")
    play(scene, bot, decisions.make(Side.LONG), decisions.make(Side.SHORT))
    assert len(bot.bought) == 1
    ((_, position, reason),) = scene.outbox.refused
    assert (position, reason) == (2, "enter short: holds BTC/USDT:USDT already: trade 1")


@pytest.mark.parametrize("stays", [True, False])
def test_an_entry_whose_answer_was_lost_is_not_made_twice(stays):
    """The tag of an open trade proves that it arrived, and so does that of one that was stopped."""
    bot, lost, scene = Bot(adjusts=True), [], Scene()

    def script(request: Request):
        reply = bot(request)
        if request.target.endswith("/forceenter") and not lost:
            lost.append(request)
            bot.trades[0]["is_open"] = stays
            return HANG
        return reply

    play(scene, script, Decisions().make(Side.LONG))
    assert len(bot.bought) == 1
    assert scene.outbox.refused == []


def test_an_entry_of_a_process_that_died_is_not_made_twice():
    """Even if its trade was opened and closed before the next process looked."""
    bot, scene, long = Bot(), Scene(), Decisions().make(Side.LONG)
    tag = f"candled:{long.decision.id}"
    bot.trades.append({"trade_id": 1, "pair": "BTC/USDT", "is_open": False, "enter_tag": tag})
    play(scene, bot, long)
    assert bot.bought == []
    assert scene.outbox.refused == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(["ok", "lost", "500", "429"]), max_size=6), st.booleans())
def test_whatever_is_lost_on_the_way_a_signal_is_bought_once(fates, adjusts):
    """By courier alone: each try is answered, lost after it was done, or refused for now."""
    bot, left = Bot(adjusts=adjusts), list(fates)
    (order,) = orders_of(Decisions().make(Side.LONG), Wanted())

    def script(request: Request):
        fate = left.pop(0) if left else "ok"
        if fate in ("500", "429"):
            return Reply(int(fate))
        reply = bot(request)
        return Reply(reply.status, reply.body, cut=True) if fate == "lost" else reply

    async def main() -> None:
        async with receiver(script) as target:
            wire_settings = WireSettings(
                url=target.url.removesuffix("/hook"), username=USER, password=PASSWORD
            )
            async with open_wire(wire_settings) as wire:
                courier = FreqtradeCourier(wire, "spot", {})
                outcome = Again("")
                while isinstance(outcome, Again):
                    outcome = await courier.carry(order, doubtful=True, within_s=2.0)

    asyncio.run(asyncio.wait_for(main(), 20))
    assert bot.bought == [("BTC/USDT", f"candled:{order.signal}")]


@pytest.mark.parametrize(
    ("bot", "reason"),
    [
        (Bot(entry_enabled=False), "Force_entry not enabled."),
        (Bot(), "Can't go short on Spot markets."),
    ],
)
def test_what_the_bot_itself_refuses_is_final(bot, reason):
    """It says so with 502, which from a proxy would mean that it may come back."""
    scene = Scene()
    target = play(scene, bot, Decisions().make(Side.SHORT))
    assert scene.outbox.refused[0][2].endswith(reason)
    assert len(target.posts) == 1


def test_a_bot_that_does_not_run_is_waited_for():
    """Until it does, or until it is too late."""
    bot, scene = Bot(running=False), Scene()

    def script(request: Request) -> Reply:
        bot.running = len([r for r in seen if r.target.endswith("/forceenter")]) >= 2
        seen.append(request)
        return bot(request)

    seen: list[Request] = []
    play(scene, script, Decisions().make(Side.LONG))
    assert len(bot.bought) == 1
    assert "not running" in str(scene.board.remarks[0][1])


def test_a_wrong_password_is_told_without_it():
    """The order is given up, since the answer will not change."""
    scene = Scene(password="wrong-one")  # noqa: S106
    target = play(scene, Bot(), Decisions().make(Side.LONG))
    assert "answered 401" in scene.outbox.refused[0][2]
    assert "wrong-one" not in repr(scene.outbox.refused + scene.board.remarks)
    assert target.posts == []


def test_a_proxy_before_a_dead_bot_is_waited_for():
    """Its 502 has no word of the bot in it."""
    bot, scene = Bot(), Scene()
    answers = iter([Reply(502, b"<html>Bad Gateway</html>"), Reply(200, b"[{]"), Reply(200, b"{}")])
    play(scene, lambda request: next(answers, None) or bot(request), Decisions().make(Side.LONG))
    assert len(bot.bought) == 1


def test_an_exit_without_a_trade_is_done():
    """Its stop was hit, say; there is nothing to leave, and nothing is refused."""
    decisions, bot, scene = Decisions(), Bot(), Scene()
    long = decisions.make(Side.LONG)
    target = play(scene, bot, decisions.correct(long, Side.FLAT))
    assert target.posts == []
    assert scene.outbox.refused == []


def test_an_exit_that_the_bot_refuses_is_looked_at_again():
    """Until the trade is gone, by whomever."""
    decisions, bot, scene = Decisions(), Bot(), Scene()
    long = decisions.make(Side.LONG)
    tag = f"candled:{long.decision.id}"
    bot.trades.append({"trade_id": 1, "pair": "BTC/USDT", "is_open": True, "enter_tag": tag})
    refused = []

    def script(request: Request) -> Reply:
        if request.target.endswith("/forceexit") and not refused:
            refused.append(request)
            return Reply(
                502, b'{"error":"Error querying /api/v1/forceexit: Failed to exit trade."}'
            )
        return bot(request)

    play(scene, script, decisions.correct(long, Side.FLAT))
    assert bot.left == [1]
