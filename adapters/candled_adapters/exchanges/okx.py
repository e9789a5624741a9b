"""OKX v5, spot and contracts. Pure; no socket, no clock.

Push of the business URL; the row's last cell says whether the bar is closed ("1"), its close comes
3.5 to 4 s late, and nothing says when it was sent:
    {"arg":{"channel":"candle1D","instId":"BTC-USDT"},"data":[["1597026383085","8533.02",
    "8553.74","8527.17","8548.26","45247","529.5858061","5529.5858061","0"]]}
Row: open ms, open, high, low, close, vol, volCcy, volCcyQuote, confirm. Of spot, `vol` is in base;
of contracts `vol` counts contracts and `volCcy` is in base. volCcyQuote is always in quote.
    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel
Acknowledgement {"id":"1","event":"subscribe","arg":{...},"connId":"..."} for each channel, error
for each that is wrong {"id":"1","event":"error","code":"60018","msg":"Wrong URL or
channel:candle1H,instId:NOPE-USDT doesn't exist. ..."}, text "pong", and before a cut
{"event":"notice","code":"64008","msg":"The connection will soon be closed ..."}.
    https://www.okx.com/docs-v5/en/#overview-websocket-connect
REST, GET /api/v5/market/candles (the newest 1,440) and /history-candles, DESCENDING, the same rows:
    {"code":"0","msg":"","data":[["1747094040000","102806.1","102820.4","102806.1","102820.4",
    "1040.37","10.4037","1069603.34883","1"]]}
    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks
`after` and `before` are EXCLUSIVE: rows before, and after, that time. Day-like bars are those of
UTC ("1Dutc"); the plain ones are Hong Kong's. Trades and taker columns do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode

import msgspec

from candled.core.bar import Bar, Bars, Interval, Stream
from candled_adapters.exchanges.dialect import (
    Closing,
    Control,
    ControlKind,
    Fact,
    KeepAlive,
    Kline,
    Limits,
    Page,
    Refusal,
    RefusalKind,
    Request,
    Rows,
    Sign,
    Subscription,
)
from candled_adapters.exchanges.wire import (
    ABSENT,
    UNREADABLE,
    Spelling,
    bounds,
    close_ms,
    leading,
    malformed,
    milliseconds,
    rate_limited,
    reading,
    refusal,
    table,
)

_INTERVALS: Final = {
    "1m": "1m",
    "3m": "3m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1h": "1H",
    "2h": "2H",
    "4h": "4H",
    "6h": "6Hutc",
    "12h": "12Hutc",
    "1d": "1Dutc",
    "3d": "3Dutc",
    "1w": "1Wutc",
    "1M": "1Mutc",
}
_NAMES: Final = {f"candle{theirs}": ours for ours, theirs in _INTERVALS.items()}
_RECENT_BARS: Final = 1_400  # /candles has 1,440
_ARGS_PER_FRAME: Final = 100  # all of a frame may be 64 KB
_PONG: Final = b"pong"
_CLOSED: Final = "1"
_PUSH: Final = b'{"arg":'
_OPEN_ROW: Final = b',"0"]]}'
_DATA: Final = b',"data":[['
_NEXT_ROW: Final = b"],["
_NAMED: Final = re.compile(r"instId:([^,\s]+)")
_SHUTDOWN: Final = "64008"
_RATE_LIMITS: Final = ("50011", "50061")
_UNKNOWN: Final = ("51000", "51001", "51015")  # parameter, instrument, instrument type
_SPELLING: Final = Spelling(
    re.compile(r"[A-Z0-9]+-[A-Z0-9]+(-SWAP|-\d{6})?"), "BTC-USDT", "{base}-{quote}", {"XBT": "BTC"}
)

_Row = tuple[str, str, str, str, str, str, str, str, str]


class _Arg(msgspec.Struct, gc=False):
    channel: str = ""
    instId: str = ""  # noqa: N815 - the venue's name


class _Frame(msgspec.Struct, gc=False):
    arg: _Arg | None = None
    data: list[_Row] | None = None
    event: str = ""
    code: str = ""
    msg: str = ""
    id: str = ""


class _Answer(msgspec.Struct):
    data: list[_Row]


class _Head(msgspec.Struct):
    code: str = "0"
    msg: str = ""


class _Moment(msgspec.Struct):
    ts: str


class _Time(msgspec.Struct):
    data: tuple[_Moment]


_frames: Final = msgspec.json.Decoder(_Frame)
_args: Final = msgspec.json.Decoder(_Arg)
_answers: Final = msgspec.json.Decoder(_Answer)
_heads: Final = msgspec.json.Decoder(_Head)
_times: Final = msgspec.json.Decoder(_Time)


@dataclass(frozen=True, slots=True)
class Okx:
    """OKX's language; see `OKX`."""

    name: str
    limits: Limits
    websocket_base: str = "wss://ws.okx.com:8443"
    rest_base: str = "https://www.okx.com"
    intervals: frozenset[str] = frozenset(_INTERVALS)
    closing: Closing = Closing.FLAG
    keepalive: KeepAlive | None = KeepAlive(b"ping", 20.0)  # noqa: RUF009 - frozen

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling."""
        return _SPELLING.problem(self.name, symbol)

    def pushed_interval(self, interval: str) -> str:
        """Return the interval itself: each has a channel of its own."""
        return interval

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the business URL: the public one refuses candles."""
        del streams
        return f"{base.rstrip('/')}/ws/v5/business"

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return frames that ask for channels like ``candle1H`` of ``BTC-USDT``."""
        return _frames_of("subscribe", streams, first_id)

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the same with ``"op":"unsubscribe"``."""
        return _frames_of("unsubscribe", streams, first_id)

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read a frame; of one whose bytes say that its only bar is open, no more than whose."""
        if frame == _PONG:
            return (Control(ControlKind.PONG, ""),)
        try:
            if frame.startswith(_PUSH) and frame.endswith(_OPEN_ROW) and _NEXT_ROW not in frame:
                return _sign(frame[len(_PUSH) : frame.find(_DATA)])
            message = _frames.decode(frame)
            if message.data is None or message.arg is None:
                return (_control(message),)
            name = _NAMES.get(message.arg.channel)
            if name is None:
                return (Control(ControlKind.NOTICE, f"{message.arg.channel} was not asked for"),)
            return tuple(_kline(message.arg.instId, name, row) for row in message.data)
        except (*UNREADABLE, LookupError) as error:
            raise malformed("frame", error, frame) from error

    def time_request(self) -> Request:
        """Ask ``/api/v5/public/time``, which answers ``{"data":[{"ts":"1597026383085"}]}``."""
        return Request("/api/v5/public/time")

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms)."""
        with reading("server time", body):
            return milliseconds(int(_times.decode(body).data[0].ts))

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Ask for the rows strictly between `before` and `after`; old ones live elsewhere."""
        interval = Interval(stream.interval)
        start, end = bounds(page, interval)
        recent = page.now_ms - start < _RECENT_BARS * interval.typical_ms
        wishes = {
            "instId": stream.symbol,
            "bar": _INTERVALS[stream.interval],
            "after": end + 1,
            **({} if page.start_ms is None else {"before": start - 1}),
            "limit": page.limit,
        }
        path = "candles" if recent else "history-candles"
        return Request(f"/api/v5/market/{path}?{urlencode(wishes)}")

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the rows of an answer as columns, oldest first; they say which are closed."""
        with reading(f"history of {stream.path}", body):
            rows = _answers.decode(body).data
            bars = _table(rows, stream)
            return Rows(bars, closed=leading(row[8] == _CLOSED for row in reversed(rows)))

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is; HTTP 200 is not enough."""
        head = _head(body)
        unknown = head.code in _UNKNOWN
        refused = refusal(self.name, status, headers, body, unknown=unknown)
        if refused is not None or head.code == "0":
            return refused
        said = f"{head.code} {head.msg}"
        if head.code in _RATE_LIMITS:
            return rate_limited(self.name, said, headers)
        kind = RefusalKind.UNKNOWN_STREAM if unknown else RefusalKind.FAILED
        return Refusal(kind, f"{self.name}: {said}", 0.0)


@lru_cache(maxsize=8192)
def _sign(arg: bytes) -> tuple[Sign]:
    """Read the `arg` of a push."""
    read = _args.decode(arg)
    return (Sign(read.instId, _NAMES[read.channel]),)


def _frames_of(op: str, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
    starts = range(0, len(streams), _ARGS_PER_FRAME)
    return [
        _subscription(op, number, streams[start : start + _ARGS_PER_FRAME])
        for number, start in enumerate(starts, start=first_id)
    ]


def _subscription(op: str, number: int, streams: Sequence[Stream]) -> Subscription:
    args = [
        {"channel": f"candle{_INTERVALS[stream.interval]}", "instId": stream.symbol}
        for stream in streams
    ]
    frame = {"id": str(number), "op": op, "args": args}
    return Subscription(number, tuple(streams), msgspec.json.encode(frame))


def _kline(symbol: str, name: str, row: _Row) -> Kline:
    """Read a row; the venue tells no time of the push."""
    open_time = int(row[0])
    end, closed = close_ms(open_time, Interval(name)), row[8] == _CLOSED
    base, quote = float(row[_base_column(symbol)]), float(row[7])
    prices = (float(row[1]), float(row[2]), float(row[3]), float(row[4]))
    bar = Bar(open_time, *prices, base, end, quote, ABSENT, ABSENT, ABSENT)
    return Kline(symbol, name, bar, closed, 0)


def _base_column(symbol: str) -> int:
    """Return the cell that counts base assets: of spot (one dash) `vol`, else `volCcy`."""
    return 5 if symbol.count("-") == 1 else 6


def _table(rows: Sequence[_Row], stream: Stream) -> Bars:
    if not rows:
        return Bars.of([])
    columns = list(zip(*rows, strict=True))
    named = dict(zip(("open", "high", "low", "close"), columns[1:5], strict=True))
    amounts = {"volume": columns[_base_column(stream.symbol)], "quote_volume": columns[7]}
    return table(map(int, columns[0]), Interval(stream.interval), {**named, **amounts})


def _control(message: _Frame) -> Control:
    number = int(message.id) if message.id.isdecimal() else None
    text = f"{message.code} {message.msg}".strip()
    if message.event == "error":
        named = _NAMED.search(message.msg)
        return Control(ControlKind.ERROR, text, number, named[1] if named else "")
    if message.event in ("subscribe", "unsubscribe"):
        symbol = message.arg.instId if message.arg is not None else ""
        return Control(ControlKind.ACK, "", number, symbol)
    if message.event == "notice" and message.code == _SHUTDOWN:
        return Control(ControlKind.SHUTDOWN, text)
    return Control(ControlKind.NOTICE, f"{message.event} {text}".strip() or "unknown frame")


def _head(body: bytes) -> _Head:
    try:
        return _heads.decode(body)
    except UNREADABLE:
        return _Head()  # not the venue's JSON: the parser of data will say what it is


OKX: Final = Okx(
    name="okx",
    limits=Limits(
        streams_per_connection=500,
        frames_per_second=3,
        connects=3,
        connect_window_s=1,
        questions=40,
        question_window_s=2,
        history_page=300,
        max_age_s=float("inf"),
        lateness_ms=6_000,
        requests_per_hour=300,  # 480; our pings take the rest, should they count
    ),
)
