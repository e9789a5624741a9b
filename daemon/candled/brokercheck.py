"""What `check` tries of the broker: a connection, its limits, and what rights it gives us.

A message is published below the base topic where no stream can be, and must be heard there. So a
right that is missing shows, also where the broker says nothing of it. The status and the info
cannot be tried without disturbing who listens; `run` proves these when it connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import msgspec

from candled.config import Config, ConfigError
from candled.errors import Exit
from candled.outlets import mqtt_settings
from candled.secret import exposure
from candled.venuecheck import Finding
from candled_adapters.protocol.shapes import ReplayRequest
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks.mqtt_link import Dial, Link, LinkError
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_rights import Probe, echo, probes, request_probe, shadow_probe

_TIMEOUT_S: Final = 60.0
_NO_STREAM: Final = "check/check/check"


async def check_broker(config: Config) -> list[Finding]:
    """Return what was found; never raises for what a broker does."""
    try:
        settings = mqtt_settings(config)
        found = _exposures(config)
    except ConfigError as error:
        return [Finding("mqtt", str(error), Exit.CONFIG)]
    shadows = any(part.challenger is not None for part in config.streams)
    trial = _Trial(replace(settings, client_id=f"{settings.client_id}-check"), shadows=shadows)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            found += await trial.run()
    except LinkError as error:
        found.append(Finding("mqtt", str(error), Exit.TEMPORARY))
    except TimeoutError:
        found.append(Finding("mqtt", f"{settings.url} did not answer", Exit.TEMPORARY))
    return found


def _exposures(config: Config) -> list[Finding]:
    keys = ("password_file", "key_file", "signing_key_file")
    places = {f"mqtt.{key}": getattr(config.mqtt, key) for key in keys}
    texts = [exposure(key, place) for key, place in places.items() if place]
    return [Finding("mqtt", text, warning=True) for text in texts if text]


class _Trial:
    """The connections that try one broker; `shadows`: also where challengers are published."""

    def __init__(self, settings: MqttSettings, *, shadows: bool) -> None:
        self._settings = settings
        self._shadows = shadows
        self._dial = Dial(settings, prove=False)

    async def run(self) -> list[Finding]:
        """Try everything; raises LinkError when there is no connection to be had."""
        async with self._connection() as link:
            found = self._limits(link)
        if not any(finding.code for finding in found):
            found += await self._rights()
        if not any(finding.code for finding in found):
            found.insert(0, Finding("mqtt", self._well()))
        return found

    def _well(self) -> str:
        settings = self._settings
        return (
            f"{settings.url} accepts messages under {settings.base_topic}/ and hands them back "
            f"(MQTT {self._dial.protocol})"
        )

    def _limits(self, link: Link) -> list[Finding]:
        url, limits = self._settings.url, link.limits
        found = [
            Finding("mqtt", f"{url}: {text}", Exit.TEMPORARY) for text in limits.problems()
        ] + [
            Finding("mqtt", f"{url}: {text}", warning=True)
            for text in limits.warnings(self._settings)
        ]
        if self._dial.losses:
            lost = "; ".join(self._dial.losses)
            found.append(Finding("mqtt", f"{url} speaks MQTT 3.1.1 only: {lost}", warning=True))
        return found

    async def _rights(self) -> list[Finding]:
        tried = probes(self._settings.base_topic, self._settings.client_id)
        if self._shadows:
            tried.append(shadow_probe(self._settings.base_topic, self._settings.client_id))
        found = []
        if not await self._all_well(tried):
            for probe in tried:
                found += await self._right(probe)
        return found + await self._requests()

    async def _all_well(self, tried: Sequence[Probe]) -> bool:
        """Whether all messages come back; if not, which do not is found one by one."""
        try:
            async with self._connection() as link:
                return not await echo(link, tried, self._settings.publish_timeout)
        except LinkError:
            return False

    async def _right(self, probe: Probe) -> list[Finding]:
        """Try one kind of message on a connection of its own: a refusal ends it."""
        try:
            async with self._connection() as link:
                missing = await echo(link, [probe], self._settings.publish_timeout)
        except LinkError as error:
            mend = f"Mosquitto's access list needs: {probe.write}"
            return [Finding("mqtt", f"{probe.kind}: {error}; {mend}", Exit.TEMPORARY)]
        return [self._unheard(probe)] if missing else []

    def _unheard(self, probe: Probe) -> Finding:
        text = (
            f"{probe.kind}: {self._settings.url} took a message on {probe.topic} and did not hand "
            f"it back; Mosquitto's access list needs: {probe.read}"
        )
        return Finding("mqtt", text, Exit.TEMPORARY)

    async def _requests(self) -> list[Finding]:
        """Try to hear a request for replay; a daemon that hears it answers that there is none."""
        probe = request_probe(self._settings.base_topic)
        reply_to = Topics(self._settings.base_topic).replay_response(self._settings.client_id)
        said = ReplayRequest(stream=_NO_STREAM, since_seq=0, reply_to=reply_to)
        try:
            async with self._connection() as link:
                patience = self._settings.publish_timeout
                missing = await echo(link, [probe], patience, msgspec.json.encode(said))
        except LinkError as error:
            text = (
                f"{probe.kind}: {error}; whether candled may listen there cannot be told. "
                f"Mosquitto's access list needs: topic readwrite {probe.branch}"
            )
            return [Finding("mqtt", text, warning=True)]
        return [self._unheard(probe)] if missing else []

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Link]:
        """Connect, asking again with the older MQTT where that is worth it; raises LinkError."""
        topics = Topics(self._settings.base_topic)
        will = Message(topics.check(self._settings.client_id), b"{}")
        while True:
            link = self._dial(self._settings, will)
            try:
                await link.__aenter__()
            except LinkError:
                if not self._dial.asks_again:
                    raise
            else:
                break
        try:
            yield link
            await link.leave()
        finally:
            await link.__aexit__(None, None, None)
