"""What the process itself costs: `candled run` from its start to ready, its memory, `--help`.

Ready is when the broker has been told that the service is online and every stream is live. The
state is warm: an earlier run has filled it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiomqtt

from candled.bench.children import BenchError, end_process, resident_mib
from candled.bench.report import process_summary

_BASE: Final = "bench/start"
_READY_S: Final = 60.0
_HELPS: Final = 5

Process = asyncio.subprocess.Process


async def measure_process(
    folder: Path,
    *,
    bundle: Path,
    venue: str,
    broker: tuple[str, int],
    symbols: Sequence[str],
    starts: int,
    idle_s: float,
) -> dict[str, Any]:
    """Start the daemon once to fill its state, then `starts` times against the clock.

    `venue` is ``HOST:PORT/PATH``.
    """
    config = folder / "config.toml"
    config.write_text(_config(bundle, venue, broker, symbols), encoding="utf-8")
    await _start(config, broker, idle_s)
    runs = [await _start(config, broker, idle_s) for _ in range(starts)]
    helps = [await _help() for _ in range(_HELPS)]
    return process_summary([r[0] for r in runs], min(r[1] for r in runs), helps)


def _config(bundle: Path, venue: str, broker: tuple[str, int], symbols: Sequence[str]) -> str:
    return f"""
[mqtt]
url = "mqtt://{broker[0]}:{broker[1]}"
base_topic = "{_BASE}"
client_id = "bench-start"

[log]
decisions = ""
format = "json"

[exchanges.bench]
dialect = "binance-spot"
ws_url = "ws://{venue}"
rest_url = "http://{venue}"
max_skew_s = inf

[[streams]]
exchange = "bench"
symbols = {json.dumps(list(symbols))}
interval = "1h"
bundle = {json.dumps(str(bundle))}
any_symbol = true
"""


async def _start(config: Path, broker: tuple[str, int], idle_s: float) -> tuple[float, float]:
    """Run the daemon until it is ready and idle; return how long that took (ms), and its MiB."""
    async with aiomqtt.Client(*broker, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(f"{_BASE}/status", qos=1)
        async with _daemon(config) as (process, began):
            try:
                async with asyncio.timeout(_READY_S):
                    online, live = await asyncio.gather(_online(client), _live(process))
            except TimeoutError:
                raise BenchError(f"candled run was not ready within {_READY_S:.0f} s") from None
            await asyncio.sleep(idle_s)
            return (max(online, live) - began) * 1000, resident_mib(process.pid)


@asynccontextmanager
async def _daemon(config: Path) -> AsyncIterator[tuple[Process, float]]:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "candled", "run", "--config", str(config),
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process, began
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await end_process(process)


async def _online(client: aiomqtt.Client) -> float:
    async for message in client.messages:
        if not message.retain and json.loads(_bytes(message))["state"] == "online":
            return time.monotonic()
    raise BenchError("the broker ended while candled run started")


def _bytes(message: aiomqtt.Message) -> bytes:
    return message.payload if isinstance(message.payload, bytes) else b"{}"


async def _live(process: Process) -> float:
    """Read the log until the stream is live."""
    if process.stderr is not None:
        async for line in process.stderr:
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "stream" and said.get("state") == "live":
                    return time.monotonic()
                continue
            sys.stderr.write(line.decode(errors="replace"))
    raise BenchError(f"candled run ended with code {await process.wait()} before it was ready")


async def _help() -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "candled", "--help", stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    return (time.monotonic() - began) * 1000
