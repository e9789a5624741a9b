"""A freqtrade strategy that enters on candled's signals, as they come over MQTT.

Copy it to user_data/strategies, set `broker`, `timeframe` and `symbols`; it needs paho-mqtt.
It enters on a signal that is live and valid while candled is online, each signal once, and leaves
when candled takes the signal back. Stop and target are below: they are yours to choose.
"""

import json
import threading
import time
from contextlib import suppress

import paho.mqtt.client as mqtt
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy
from pandas import DataFrame


REMEMBERED = 10_000
NEEDED = ("id", "side", "valid_until_ms")


class Signals:
    """What candled said last; used by the MQTT thread and by the bot's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, dict] = {}
        self._used: dict[str, None] = {}
        self._taken_back: dict[str, None] = {}
        self._online = False

    def lost(self) -> None:
        """Trust nothing until candled is heard again."""
        with self._lock:
            self._online = False
            self._newest.clear()

    def hear(self, payload: bytes) -> None:
        """Take a message of any topic; what is no message of candled's is passed over."""
        with self._lock, suppress(ValueError, KeyError, TypeError, AttributeError):
            self._take(json.loads(payload))

    def _take(self, said: dict) -> None:
        match said["schema"]:
            case "candled.status/1":
                self._online = said["state"] == "online"
            case "candled.signal/1" if said["live"] is True:
                self._newest[said["symbol"]] = {key: said[key] for key in NEEDED}
            case "candled.correction/1":
                was = said["supersedes"]
                if (
                    was["signal"]
                    and was["side"] in ("long", "short")
                    and was["side"] != said["side"]
                ):
                    _remember(self._taken_back, was["signal"])

    def wanted(self, symbol: str, now_ms: int) -> dict | None:
        """Return the signal to enter on now, if there is one."""
        with self._lock:
            said = self._newest.get(symbol)
            if not self._online or said is None or now_ms >= said["valid_until_ms"]:
                return None
            done = said["id"] in self._used or said["id"] in self._taken_back
            return None if done else said

    def use(self, signal: str) -> bool:
        """Note that a signal is acted on; False when it was before, or was taken back."""
        with self._lock:
            if signal in self._used or signal in self._taken_back or not self._online:
                return False
            _remember(self._used, signal)
            return True

    def is_taken_back(self, signal: str) -> bool:
        """Whether a trade on this signal should be left."""
        with self._lock:
            return signal in self._taken_back


def _remember(ids: dict[str, None], signal: str) -> None:
    ids[signal] = None
    if len(ids) > REMEMBERED:
        del ids[next(iter(ids))]


class CandledMqtt(IStrategy):
    """Enters as candled says."""

    INTERFACE_VERSION = 3
    broker = ("127.0.0.1", 1883)
    base_topic = "candled"
    timeframe = "1h"
    can_short = True
    symbols = {"BTC/USDT:USDT": "BTCUSDT"}
    stoploss = -0.02
    minimal_roi = {"0": 0.03}
    process_only_new_candles = False  # a signal comes a moment after its candle
    startup_candle_count = 1

    def bot_start(self, **kwargs: object) -> None:
        """Listen, in a thread of paho's, over any number of connections."""
        self.signals = Signals()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_connect = self._subscribe
        self.client.on_disconnect = lambda *_: self.signals.lost()
        self.client.on_message = lambda _client, _data, message: self.signals.hear(message.payload)
        self.client.connect_async(*self.broker, keepalive=10)
        self.client.loop_start()

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        topics = [f"{self.base_topic}/{name}" for name in ("status", "signal/#", "event/#")]
        client.subscribe([(topic, 1) for topic in topics])

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        """Nothing is needed: candled has computed it."""
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        """Mark the newest candle when there is a signal that may be acted on."""
        symbol = self.symbols.get(metadata["pair"], "")
        said = self.signals.wanted(symbol, time.time_ns() // 1_000_000)
        if said is not None and len(dataframe):
            last = dataframe.index[-1]
            dataframe.loc[last, f"enter_{said['side']}"] = 1
            dataframe.loc[last, "enter_tag"] = said["id"]
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        """Leave by stop, target and `custom_exit`."""
        return dataframe

    def confirm_trade_entry(self, pair: str, entry_tag: str | None, **kwargs: object) -> bool:
        """Act on a signal once, and not after it was taken back in the meantime."""
        return entry_tag is not None and self.signals.use(entry_tag)

    def custom_exit(self, pair: str, trade: Trade, **kwargs: object) -> str | None:
        """Leave a trade whose signal was taken back."""
        taken_back = trade.enter_tag is not None and self.signals.is_taken_back(trade.enter_tag)
        return "candled took it back" if taken_back else None
