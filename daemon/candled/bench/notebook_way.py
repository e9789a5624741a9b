"""The notebook's way, a process: what its user would write to run the model live.

One loop: a websocket frame in, `json.loads`, a pandas window for each symbol, all features over
the window anew, scaler and classifier as joblib gives them back, `json.dumps`, an awaited publish.
Nothing is slow on purpose. A stopwatch adds up what each part takes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiomqtt
import httpx
import joblib
import numpy as np
import pandas as pd
from websockets.asyncio.client import ClientConnection, connect

from candled.bench.children import Message, heard, say
from candled.bench.pandas_features import calculate_features

_ROWS: Final = 800  # kept for each symbol
_PRICES: Final = ["open", "high", "low", "close", "volume"]
_PER_REQUEST: Final = 200
_WARM_UP: Final = 3
_SIDES: Final = ("flat", "long", "short")


class Predictor:
    """The three files of the notebook, and its `predict_signals` for the newest bar."""

    def __init__(self, stem: str, threshold: float) -> None:
        self._model = joblib.load(f"{stem}_model.joblib")
        self._scaler = joblib.load(f"{stem}_scaler.joblib")
        metadata = json.loads(Path(f"{stem}_metadata.json").read_text(encoding="utf-8"))
        self._columns = metadata["feature_cols"]
        self._threshold = threshold

    def predict(self, table: pd.DataFrame) -> tuple[str, list[float]]:
        """Return side and probabilities (no trade, long, short) of the table's last row."""
        row = table[self._columns].iloc[[-1]].to_numpy()
        probabilities = self._model.predict_proba(self._scaler.transform(row))[0]
        signal = 0
        if probabilities[1] > self._threshold:
            signal = 1
        if probabilities[2] > self._threshold:
            signal = 2
        return _SIDES[signal], [float(p) for p in probabilities]


class _Bot:
    """The windows and what happens on a closed bar."""

    def __init__(self, predictor: Predictor, client: aiomqtt.Client) -> None:
        self.windows: dict[str, pd.DataFrame] = {}
        self._predictor = predictor
        self._client = client
        self.begin()

    def begin(self) -> None:
        """Begin a burst."""
        self.spent_ns: defaultdict[str, int] = defaultdict(int)
        self.signals: list[tuple[object, ...]] = []
        self.bars = 0

    async def on_frame(self, frame: str | bytes) -> None:
        """Handle one frame; only a closed bar matters."""
        began = time.perf_counter_ns()
        kline = json.loads(frame).get("data", {}).get("k")
        if not kline or not kline["x"]:
            return
        symbol = kline["s"]
        prices = [float(kline[key]) for key in "ohlcv"]
        newest = pd.DataFrame([prices], columns=_PRICES, index=[kline["t"]])
        window = pd.concat([self.windows[symbol], newest]).iloc[-_ROWS:]
        self.windows[symbol] = window
        self._note("window", began)
        await self.on_bar(symbol, window, f"bench/notebook/signal/{symbol}")
        self.bars += 1

    async def on_bar(self, symbol: str, window: pd.DataFrame, topic: str) -> None:
        """Decide the window's last bar and publish."""
        began = time.perf_counter_ns()
        table = calculate_features(window["close"])
        began = self._note("features", began)
        side, probabilities = self._predictor.predict(table)
        began = self._note("predict", began)
        opened = int(window.index[-1])
        payload = json.dumps(
            {
                "symbol": symbol,
                "timestamp": opened,
                "signal": side,
                "probabilities": probabilities,
                "price": float(window["close"].iloc[-1]),
            }
        )
        if side != "flat":
            await self._client.publish(topic, payload, qos=1)
            self.signals.append((symbol, opened, side, probabilities))
        self._note("publish", began)

    def _note(self, stage: str, began: int) -> int:
        now = time.perf_counter_ns()
        self.spent_ns[stage] += now - began
        return now


async def _history(rest: str, symbols: list[str], interval: str) -> dict[str, pd.DataFrame]:
    windows = {}
    async with httpx.AsyncClient(base_url=rest, timeout=30) as client:
        for symbol in symbols:
            query = f"symbol={symbol}&interval={interval}&limit={_ROWS + 1}"
            rows = (await client.get(f"/api/v3/klines?{query}")).json()
            rows.pop()  # it is still open
            values = np.array([row[1:6] for row in rows], dtype=np.float64)
            windows[symbol] = pd.DataFrame(values, columns=_PRICES, index=[r[0] for r in rows])
    return windows


async def _subscribe(socket: ClientConnection, symbols: list[str], interval: str) -> None:
    names = [f"{symbol.lower()}@kline_{interval}" for symbol in symbols]
    for start in range(0, len(names), _PER_REQUEST):
        part = names[start : start + _PER_REQUEST]
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": part, "id": start}))
        await socket.recv()


async def _trade(settings: Message) -> None:
    symbols, interval = settings["symbols"], settings["interval"]
    predictor = Predictor(settings["files"], settings["threshold"])
    # Without a deadline for pongs: behind a burst they come too late, and the library hangs up.
    async with (
        aiomqtt.Client(
            settings["host"], settings["port"], protocol=aiomqtt.ProtocolVersion.V5
        ) as client,
        connect(f"{settings['websocket']}/stream", ping_interval=None) as socket,
    ):
        bot = _Bot(predictor, client)
        bot.windows = await _history(settings["rest"], symbols, interval)
        await _subscribe(socket, symbols, interval)
        for _ in range(_WARM_UP):
            await bot.on_bar(symbols[0], bot.windows[symbols[0]], "bench/notebook/warm-up")
        bot.begin()
        say({"ready": True})
        async for frame in socket:
            await bot.on_frame(frame)
            if bot.bars == len(symbols):
                say(_result(bot))
                bot.begin()


def _result(bot: _Bot) -> dict[str, Any]:
    return {
        "accepted_ns": time.time_ns(),
        "spent_ns": dict(bot.spent_ns),
        "signals": bot.signals,
    }


async def _run() -> None:
    commands = heard()
    settings = await anext(commands, None)
    if settings is None:
        return  # the bench has ended
    trading = asyncio.create_task(_trade(settings))
    listening = asyncio.create_task(_until_told(commands))
    await asyncio.wait({trading, listening}, return_when=asyncio.FIRST_COMPLETED)
    if trading.done():
        trading.result()
    trading.cancel()
    await asyncio.gather(trading, return_exceptions=True)


async def _until_told(commands: AsyncIterator[Message]) -> None:
    async for _ in commands:
        pass


if __name__ == "__main__":
    asyncio.run(_run())
