"""Orders to freqtrade, by its REST interface.

What its source says (freqtrade/rpc/api_server/api_trading.py, api_schemas.py, api_auth.py and
freqtrade/rpc/rpc.py, https://github.com/freqtrade/freqtrade; the pages are
https://www.freqtrade.io/en/stable/rest-api/):

- ``POST /api/v1/forceenter`` takes ``{"pair", "side", "entry_tag", ...}`` and needs
  ``force_entry_enable``. ``POST /api/v1/forceexit`` takes ``{"tradeid"}``: one number, or "all",
  which leaves every trade of the bot and is never said here.
- HTTP basic authentication is accepted at every call.
- What the bot itself refuses comes as 502 with ``{"error": "Error querying ...: reason"}``; a 502
  of a proxy has no such body.
- It knows no idempotency key. An entry for a pair that is open is refused, except with
  ``position_adjustment_enable``: then it *adds* to the open trade, on that trade's side. So the
  open trades are looked at before each entry, and the tag is the signal's id.
- Newer versions allow 5 entries or exits a minute and 20 looks at the status, then answer 429.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from candled_adapters.sinks import payload
from candled_adapters.sinks.orders import Order
from candled_adapters.sinks.pairs import Market, pair_of
from candled_adapters.sinks.retrying import Again, Outcome, Refused, Taken
from candled_adapters.sinks.webhook_wire import Answer, WebhookWire, excerpt

_JSON: Final = {"Content-Type": "application/json"}
_MOST: Final = 4_000_000  # bytes of a list of trades; one trade with its orders is about 3 kB
_LATELY: Final = 100  # closed trades that are looked through
#: Of the bot's reasons, those that may pass; see rpc.py and deps.py.
_MAY_PASS: Final = ("not running", "not in the correct state")


class FreqtradeCourier:
    """Enters and leaves trades of one freqtrade bot; `url` of the wire's settings is its base."""

    def __init__(
        self,
        wire: WebhookWire,
        market: Market,
        pairs: Mapping[str, str],
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._wire = wire
        self._base = wire.settings.url.rstrip("/") + "/api/v1"
        self._market = market
        self._pairs = pairs
        self._wall_s = wall_s

    async def carry(self, order: Order, *, doubtful: bool, within_s: float) -> Outcome:
        """Try once; whether an earlier try arrived is seen by the tag of the bot's trades."""
        self._wire.hurry(within_s)
        opened, problem = await self._trades("/status")
        if problem:
            return problem
        if order.kind == "exit":
            return await self._leave(order, opened)
        if doubtful and not _tagged(opened, order):
            closed, problem = await self._trades(f"/trades?limit={_LATELY}&order_by_id=false")
            if problem:
                return problem
            opened = [*opened, *_tagged(closed, order)]
        return await self._enter(order, opened)

    async def _enter(self, order: Order, trades: list[dict[str, Any]]) -> Outcome:
        if _tagged(trades, order):
            return Taken()
        symbol = order.entry.decision.stream.symbol
        pair = self._pairs.get(symbol) or pair_of(symbol, self._market)
        if pair is None:
            return Refused(f"{symbol} has no pair; add it to the webhook's pairs")
        for trade in trades:
            if trade.get("pair") == pair:
                return Refused(f"holds {pair} already: trade {trade.get('trade_id')}")
        wish = {"pair": pair, "side": order.side, "entry_tag": tag_of(order)}
        answer = await self._post("/forceenter", wish)
        if (outcome := self._understood(answer)) != Taken():
            return outcome
        said = answer.json()
        if isinstance(said, dict) and "trade_id" not in said and "status" in said:
            return Refused(self._wire.safe(str(said["status"])))
        return Taken()

    async def _leave(self, order: Order, trades: list[dict[str, Any]]) -> Outcome:
        """Leave the trades that were entered on the signal; when there are none, all is done."""
        for trade in _tagged(trades, order):
            answer = await self._post("/forceexit", {"tradeid": str(trade.get("trade_id"))})
            match self._understood(answer):
                case Refused(reason) if answer.status >= 500:  # noqa: PLR2004 - the bot's own word
                    return Again(reason)  # the next look tells whether the trade is still there
                case Taken():
                    continue
                case outcome:
                    return outcome
        return Taken()

    async def _trades(self, path: str) -> tuple[list[dict[str, Any]], Outcome | None]:
        answer = await self._wire.call("GET", self._base + path, most=_MOST)
        if (outcome := self._understood(answer)) != Taken():
            return [], outcome
        said = answer.json()
        trades = said.get("trades") if isinstance(said, dict) else said
        if not isinstance(trades, list):
            return [], Again(
                f"{path.split('?', maxsplit=1)[0]} did not answer with a list of trades"
            )
        return [trade for trade in trades if isinstance(trade, dict)], None

    async def _post(self, path: str, wish: dict[str, str]) -> Answer:
        body = payload.encode(wish)
        return await self._wire.call("POST", self._base + path, body=body, headers=_JSON)

    def _understood(self, answer: Answer) -> Outcome:
        outcome = answer.outcome(self._wall_s())
        said = answer.json()
        if isinstance(outcome, Again) and isinstance(said, dict) and "error" in said:
            reason = self._wire.safe(str(said["error"]))
            return Again(reason) if _may_pass(reason) else Refused(reason)
        match outcome:
            case Again(reason, wait_s):
                return Again(self._with_words(reason, answer), wait_s)
            case Refused(reason):
                return Refused(self._with_words(reason, answer))
            case _:
                return outcome

    def _with_words(self, reason: str, answer: Answer) -> str:
        said = self._wire.safe(excerpt(answer))
        return f"{reason}: {said}" if said else reason


async def show_config(wire: WebhookWire) -> tuple[dict[str, Any], str | None]:
    """Return what the bot says of its configuration, or why it does not; it changes nothing."""
    answer = await wire.call("GET", wire.settings.url.rstrip("/") + "/api/v1/show_config")
    said = answer.json()
    if answer.status != 200 or not isinstance(said, dict):  # noqa: PLR2004 - it has no other
        return {}, f"answered {answer.status} to show_config: {wire.safe(excerpt(answer))}"
    return said, None


def tag_of(order: Order) -> str:
    """Return the entry tag of the trade that belongs to an order's signal."""
    return f"candled:{order.signal}"


def _tagged(trades: list[dict[str, Any]], order: Order) -> list[dict[str, Any]]:
    return [trade for trade in trades if trade.get("enter_tag") == tag_of(order)]


def _may_pass(reason: str) -> bool:
    return any(text in reason for text in _MAY_PASS)
