"""How an order is carried to a target: as one POST with a body that a template makes.

A courier tries once and says what came of it; `webhook` decides when to try again. The other one
speaks to freqtrade and is in `freqtrade`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from candled_adapters.sinks import payload
from candled_adapters.sinks.orders import NAMES, Order, body_of, fields_of
from candled_adapters.sinks.retrying import Again, Outcome, Refused
from candled_adapters.sinks.templates import Template, TemplateError, read_template
from candled_adapters.sinks.webhook_wire import WebhookWire, excerpt, signature

#: A 3Commas signal bot's message of the "custom signal" type, whose names other receivers of
#: TradingView's alerts share. `timestamp` and `max_lag` let the receiver refuse what is late.
#: https://help.3commas.io/en/articles/8894481-signal-bot-json-file-in-custom-signal-type
TRADINGVIEW: Final = """{
 "secret": "{{secret.token}}", "max_lag": "{{valid_seconds}}", "timestamp": "{{decided_at}}",
 "trigger_price": "{{price}}", "tv_exchange": "{{tv_exchange}}", "tv_instrument": "{{ticker}}",
 "action": "{{action}}", "bot_uuid": "{{secret.bot_uuid}}"
}"""
#: The secrets that it needs.
TRADINGVIEW_SECRETS: Final = ("token", "bot_uuid")


class Courier(Protocol):
    """Carries orders to one target."""

    async def carry(self, order: Order, *, doubtful: bool, within_s: float) -> Outcome:
        """Try once; `doubtful` when an earlier try may have arrived. Raises NotReachedError.

        Who calls it cancels it after `within_s`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wording:
    """How orders are worded for a target; None for candled's own JSON."""

    enter: Template | None = None
    exit: Template | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of the placeholders ``secret.NAME``, by NAME."""
    tickers: Mapping[str, str] = field(default_factory=dict)
    """What the target calls a symbol, where it is not the same."""

    def body(self, order: Order, epoch: str) -> tuple[bytes, str]:
        """Return the body and its content type; raises TemplateError."""
        template = self.enter if order.kind == "enter" else self.exit
        if template is None:
            return payload.encode(body_of(order, epoch)), "application/json"
        symbol = order.entry.decision.stream.symbol
        values = fields_of(order, epoch, self.tickers.get(symbol, symbol))
        text = template.render(values | secret_values(self.secrets))
        kind = "application/json" if template.is_json else "text/plain; charset=utf-8"
        return text.encode(errors="replace"), kind


def secret_values(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return secrets under the names that templates use."""
    return {f"secret.{name}": value for name, value in secrets.items()}


def read_wording(text: str, secrets: Mapping[str, str]) -> Template:
    """Read a template of orders; raises TemplateError."""
    return read_template(text, NAMES | secret_values(secrets).keys())


class PostCourier:
    """POSTs each order to the target's one address."""

    def __init__(
        self,
        wire: WebhookWire,
        wording: Wording,
        epoch: str,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._wire = wire
        self._wording = wording
        self._epoch = epoch
        self._wall_s = wall_s

    async def carry(self, order: Order, *, doubtful: bool, within_s: float) -> Outcome:  # noqa: ARG002 - the key tells the target
        """Post the order's body; the same order has the same body and key, however often."""
        self._wire.hurry(within_s)
        try:
            body, kind = self._wording.body(order, self._epoch)
        except TemplateError as error:
            return Refused(f"its body cannot be made: {error}")
        headers = {"Content-Type": kind, "Idempotency-Key": order.key}
        if self._wire.settings.hmac_key is not None:
            sent = signature(self._wire.settings.hmac_key, body, int(self._wall_s()))
            headers["X-Candled-Signature"] = sent
        answer = await self._wire.call("POST", self._wire.settings.url, body=body, headers=headers)
        return _explained(answer.outcome(self._wall_s()), self._wire.safe(excerpt(answer)))


def _explained(outcome: Outcome, said: str) -> Outcome:
    """Add what the target said to why it did not take an order."""
    match outcome:
        case Again(reason, wait_s) if said:
            return Again(f"{reason}: {said}", wait_s)
        case Refused(reason) if said:
            return Refused(f"{reason}: {said}")
        case _:
            return outcome
