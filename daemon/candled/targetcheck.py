"""What `check` tries of webhooks and alerts, without sending an order or a message.

Templates are rendered and secrets are read. A target is connected to, as far as its certificate,
but no request is made: nobody knows which requests are harmless to a stranger. Of freqtrade it is
known, so it is asked for its configuration. Alerts' URLs are read, their services are not asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

from candled.config import Config
from candled.errors import Exit
from candled.targets import Target, alert_tell, webhook_targets
from candled.venuecheck import Finding
from candled_adapters.sinks.freqtrade import show_config
from candled_adapters.sinks.webhook_wire import NotReachedError, open_wire, reach


async def check_targets(config: Config) -> list[Finding]:
    """Return what was found, of all webhooks at once."""
    targets, problems = webhook_targets(config)
    found = [Finding("webhooks", problem, Exit.CONFIG) for problem in problems]
    tell, problems = alert_tell(config)
    found += [Finding("alerts", problem, Exit.CONFIG) for problem in problems]
    if tell is not None:
        found.append(Finding("alerts", "the services' URLs can be read; none was asked"))
    for tried in await asyncio.gather(*map(_try, targets)):
        found += tried
    return found


async def _try(target: Target) -> list[Finding]:
    part = f"webhooks.{target.name}"
    try:
        async with asyncio.timeout(2 * target.wire.timeout):
            if target.wording is None:
                return [Finding(part, *said) for said in await _ask_freqtrade(target)]
            await reach(target.wire)
    except NotReachedError as error:
        return [Finding(part, f"{target.wire.place}: {error}", Exit.TEMPORARY)]
    except TimeoutError:
        return [Finding(part, f"{target.wire.place} did not answer", Exit.TEMPORARY)]
    return [Finding(part, f"{target.wire.place} can be reached; no order was sent")]


async def _ask_freqtrade(target: Target) -> list[tuple[str, Exit | None]]:
    async with open_wire(target.wire) as wire:
        said, problem = await show_config(wire)
    place = target.wire.place
    if problem is not None:
        final = "answered 4" in problem
        return [(f"{place}: {problem}", Exit.CONFIG if final else Exit.TEMPORARY)]
    found: list[tuple[str, Exit | None]] = [
        (f"{place}: {text}", Exit.CONFIG) for text in _unfit(said, target)
    ]
    return found or [(f"{place} is freqtrade, state {said.get('state')}; no order was sent", None)]


def _unfit(said: dict[str, Any], target: Target) -> list[str]:
    """Return what of a bot's configuration does not fit, each with its mend."""
    found = []
    if said.get("force_entry_enable") is False:
        found.append("set force_entry_enable = true in the bot's configuration")
    mode = said.get("trading_mode")
    if isinstance(mode, str) and mode != target.market:
        found.append(f'the bot trades {mode}; set market = "{mode}"')
    if "short" in target.wanted.sides and said.get("short_allowed") is False:
        found.append('the bot cannot go short; set sides = ["long"]')
    return found
