"""The pictures of the live page in docs/images: `make page-pictures` takes them anew.

They show synthetic candles (the demo's generator), a model's real decisions on these, and trouble
of every kind. The numbers say nothing of any market.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("tests", "daemon", "adapters")]

from browser import chromium, page  # noqa: E402 - the path comes first
from candled.core.bar import MINUTE, Stream  # noqa: E402 - the path comes first
from candled.core.decision import Side  # noqa: E402 - the path comes first
from candled.core.track import Standing  # noqa: E402 - the path comes first
from candled.ports import Act, Hazard, ServiceState, StreamState  # noqa: E402 - the path comes first
from web_page.palette import png  # noqa: E402 - the path comes first
from web_page.served import House, served, wall_ms  # noqa: E402 - the path comes first
from web_page.test_live import DRAWN, says  # noqa: E402 - the path comes first
from web_page.world import World, drift, track  # noqa: E402 - the path comes first

FOLDER = ROOT / "docs" / "images"
LARGEST = 150_000
STREAMS = 36
READ = """
(async () => {{
  const bytes = Uint8Array.from(atob({source}), (one) => one.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], {{ type: "image/png" }}));
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const raw = context.getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let at = 0; at < raw.length; at += 32768)
    text += String.fromCharCode(...raw.subarray(at, at + 32768));
  return [image.width, image.height, btoa(text)];
}})()
"""
SHOTS = (
    ("page-list", "", False, "light"),
    ("page-stream", "#/{}", False, "dark"),
    ("page-phone-list", "", True, "dark"),
    ("page-phone-stream", "#/{}", True, "light"),
)


def scene() -> World:
    """Return streams of a venue that is called demo, as they stand now."""
    names = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "AVAX", "LINK", "DOT", "LTC", "TRX", "UNI")
    kinds = [(name, quote) for quote in ("USDT", "USDC", "EUR") for name in names]
    streams = [Stream("demo", name + quote, "1m") for name, quote in kinds[:STREAMS]]
    made = World(streams, wall_ms(), shown=240)
    made.drifts.update({stream: drift(stream, 0.05 + n / 400) for n, stream in enumerate(streams)})
    made.drifts[streams[4]] = drift(streams[4], 0.41)
    made.tracks[streams[2]] = track(streams[2], made.outcomes(streams[2]) * 9, 3, Standing.BROKEN)
    return made


def befall(house: House, made: World) -> None:
    """Have something happen to some streams, and to the service."""
    some = made.streams
    house.board.set(ServiceState.DEGRADED, "demo DOGEUSDT 1m: a bar is missing, REST is asked")
    house.note(some[3], StreamState.DEGRADED, "its bars come by REST alone")
    house.note(some[5], StreamState.HOLDING, "a bar is missing, REST is asked")
    house.note(some[7], StreamState.STOPPED, "the venue does not know LINKUSDT")
    house.outbox.mark("mqtt", house.outbox.entries[-1].position)
    house.tell(
        "code 1006 after 5 h; tried again in 0.4 s", None, Hazard.CONNECTION_LOST, Act.RECONNECT
    )
    house.tell("the symbol is not listed", some[7], Hazard.UNKNOWN_STREAM, Act.STOP)
    house.tell("median PSI 0.41 over 480 rows; most: rsi_14", some[4], Hazard.DRIFT, Act.FLAG)
    house.tell("fewer right than claimed", some[2], Hazard.CLAIM_BROKEN, Act.FLAG)
    house.tell("due 3.1 s ago, not pushed", some[5], Hazard.MISSING_BAR, Act.HOLD)


def signalling(made: World) -> Stream:
    """Return the stream whose newest signal is a long and youngest, for the picture's sake."""
    ages = {}
    for stream, told in made.entries.items():
        past = [entry.decision.side for entry in reversed(told)]
        ages[stream] = past.index(Side.LONG) if Side.LONG in past else len(past)
    return min(ages, key=lambda stream: ages[stream])


def keep_up(house: House, made: World) -> None:
    """Close the bars of the minute that has passed, of the streams that go on."""
    newest = made.entries[made.streams[0]][-1].decision.bar_close
    if wall_ms() - newest >= MINUTE:
        house.close(*[s for n, s in enumerate(made.streams) if n not in (5, 7)])


async def take(address: str) -> None:
    """Take all pictures."""
    made = scene()
    stream = signalling(made)
    async with served(made) as house:
        befall(house, made)
        for name, route, phone, theme in SHOTS:
            url = house.url + route.format(stream.path)
            size = (360, 740) if phone else (1360, 960 if route else 850)
            async with page(
                address, url, phone=phone, size=size, scale=1.5 if phone else 1
            ) as shown:
                await shown.theme(theme)
                await shown.until(says("#state", "degraded"))
                await shown.until(DRAWN if route else says("#events", "not pushed"))
                keep_up(house, made)
                if route:
                    await shown.run("document.querySelector('.past tbody button').click()")
                await shown.run("new Promise((done) => setTimeout(done, 500))")
                picture = png(await pixels(address, await shown.picture()))
                assert len(picture) < LARGEST, f"{name}: {len(picture)} bytes"
                (FOLDER / f"{name}.png").write_bytes(picture)
                sys.stdout.write(f"{FOLDER / name}.png {len(picture) / 1000:.0f} kB\n")
                assert shown.complaints == [], shown.complaints


async def pixels(address: str, picture: bytes) -> NDArray[np.uint8]:
    """Have the browser read a picture; return [height, width, 3]."""
    async with page(address, "about:blank") as blank:
        source = json.dumps(base64.b64encode(picture).decode())
        width, height, data = await blank.run(READ.format(source=source))
    flat = np.frombuffer(base64.b64decode(data), np.uint8)
    return flat.reshape(height, width, 4)[:, :, :3]


def main() -> None:
    """Take the pictures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as address:
        asyncio.run(take(address))


if __name__ == "__main__":
    main()
