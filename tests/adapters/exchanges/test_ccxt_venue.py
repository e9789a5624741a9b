"""What ccxt says, in our words: venues, symbols, bars, errors, addresses. No ccxt is needed."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import HOUR, INTERVALS, Stream
from candled_adapters.exchanges import ccxt_venue
from candled_adapters.exchanges.ccxt_venue import (
    CcxtError,
    CcxtVenue,
    bars_of,
    described,
    is_of_ccxt,
    newest_open,
    refusal_of,
    relocated,
    spelled,
    unified,
)
from candled_adapters.exchanges.dialect import Closing, MalformedFrame, RefusalKind
from candled_adapters.exchanges.registry import DIALECTS, interval_problem, live_venue
from contract.mutation import STRANGERS, wrong_values

OPEN = 1_700_000_000_000 // HOUR * HOUR
STREAM = Stream("venue", "BTC-USDT", "1h")
ROWS = [
    [OPEN, 37000.1, 37020.3, 36990.4, 37010.2, 12.345],
    [OPEN + HOUR, 37010.2, 37030.0, 37000.0, 37005.5, None],
]
FEATURES = {
    "spot": {"fetchOHLCV": {"limit": 1500}, "fetchOrder": {"limit": 3}},
    "swap": {"linear": {"fetchOHLCV": {"limit": 200}}, "inverse": {"fetchOHLCV": None}},
    "future": None,
}
KUCOIN = CcxtVenue("kucoin", frozenset({"1m", "1h"}), 1000, watches=True, tells_time=True)


# --- venues


def test_a_description_becomes_what_the_feed_must_know():
    """Only intervals that both have, the shortest page of all markets, what can be asked."""
    venue = described("kucoin", {"1m": "1min", "1h": 1, "7m": 7, "1M": 2}, {"fetchOHLCV": True}, {})
    assert venue == CcxtVenue("kucoin", frozenset({"1m", "1h", "1M"}), 100, False, False)
    can = {"fetchOHLCV": True, "watchOHLCV": True, "fetchTime": True, "fetchTrades": None}
    venue = described("kucoin", {"1h": "1h"}, can, FEATURES)
    assert (venue.page, venue.watches, venue.tells_time) == (200, True, True)
    assert venue.closing is Closing.SUCCESSOR
    assert (
        described("x", {"1h": "1h"}, can, {"spot": {"fetchOHLCV": {"limit": 50000}}}).page == 1000
    )


@pytest.mark.parametrize(
    ("timeframes", "has"), [({"1h": "1h"}, {}), (None, {"fetchOHLCV": True}), ({"7m": 7}, {})]
)
def test_a_venue_without_bars_is_refused(timeframes, has):
    """No bars at all, or none of an interval that candled knows."""
    with pytest.raises(CcxtError, match="no bars of zaif; take another venue"):
        described("zaif", timeframes, has, None)


def test_a_missing_library_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch):
    """Without ccxt its venues are refused with the command that installs it; ours need none."""

    def absent(name: str, *_: object) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="ccxt")

    monkeypatch.setattr(ccxt_venue.importlib, "import_module", absent)
    with pytest.raises(CcxtError, match=r"need ccxt: pip install 'candled\[ccxt\]'"):
        live_venue("ccxt:kucoin")
    assert live_venue("okx") is DIALECTS["okx"]


def test_a_broken_library_is_not_called_missing(monkeypatch: pytest.MonkeyPatch):
    """What ccxt itself cannot find is no matter of our extra."""

    def broken(name: str, *_: object) -> None:
        del name
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(ccxt_venue.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="aiohttp"):
        live_venue("ccxt:kucoin")


def test_a_wrong_name_is_told_with_what_may_be_meant():
    """Also that ccxt has more."""
    with pytest.raises(ValueError, match=r"did you mean 'okx'.*or ccxt:ID"):
        live_venue("okex")


def test_every_venue_of_ccxt_can_be_described():
    """Each of the library's exchanges is a venue with intervals and pages, or is refused."""
    library = pytest.importorskip("ccxt.async_support", reason="ccxt is an optional dependency")
    refused, venues = [], []
    for name in library.exchanges:
        try:
            venues.append(live_venue(f"ccxt:{name}"))
        except CcxtError as error:
            refused.append(str(error))
    assert all("has no bars" in text for text in refused)
    assert len(venues) > 80
    for venue in venues:
        assert venue.intervals <= {one.name for one in INTERVALS}
        assert 1 <= venue.page <= 1000
        assert interval_problem(venue, next(iter(venue.intervals))) == ""
    with pytest.raises(CcxtError, match=r"no exchange 'kucoinn'; did you mean 'ccxt:kucoin'\?"):
        live_venue("ccxt:kucoinn")


# --- symbols


@pytest.mark.parametrize(
    ("symbol", "ours"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT:USDT"),
        ("BTC/USD:BTC-260327", "BTC-USD:BTC-260327"),
        ("kPEPE/USDC:USDC", "kPEPE-USDC:USDC"),
    ],
)
def test_a_symbol_without_its_slash_is_found_again(symbol: str, ours: str):
    """What is spelled here fits a topic's level and leads back to the venue's market."""
    assert spelled(symbol) == ours
    assert not set(ours) & set("/+# ")
    assert KUCOIN.symbol_problem(ours) == ""
    assert unified(ours, ["ETH/USDT", symbol]) == symbol


def test_an_unknown_market_is_told_with_the_nearest():
    """The venue's own list decides, not the spelling."""
    with pytest.raises(CcxtError, match=r"no market 'BTC-USDC'; did you mean 'BTC-USDT'\?"):
        unified("BTC-USDC", ["BTC/USDT", "ETH/EUR"])
    with pytest.raises(CcxtError, match=r"no market 'BTC-USDC'$"):
        unified("BTC-USDC", [])


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("BTCUSDT", "BTC-USDT"), ("BTC/USDT", "BTC-USDT"), ("btc-usdt", "BTC-USDT")],
)
def test_a_misspelled_symbol_is_told_before_anything_is_asked(wrong: str, meant: str):
    """With the spelling that is probably meant."""
    assert f"did you mean {meant!r}?" in KUCOIN.symbol_problem(wrong)


# --- bars


def test_rows_are_bars_whose_missing_columns_are_absent():
    """Numbers as they are, ends from the interval, and what ccxt drops is NaN."""
    bars = bars_of(ROWS, STREAM)
    assert bars.open_time.tolist() == [OPEN, OPEN + HOUR]
    assert bars.close_time.tolist() == [OPEN + HOUR - 1, OPEN + 2 * HOUR - 1]
    assert (bars.open[0], bars.high[0], bars.low[0]) == (37000.1, 37020.3, 36990.4)
    assert (bars.close[0], bars.volume[0]) == (37010.2, 12.345)
    assert math.isnan(bars.volume[1])
    for name in ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        assert np.isnan(getattr(bars, name)).all()
    assert len(bars_of([], STREAM)) == 0


def test_what_is_no_table_of_bars_is_malformed():
    """Every wrong value at every place gives bars or `MalformedFrame`, and nothing else."""
    refused = 0
    for rows in [*wrong_values(ROWS), *STRANGERS]:
        for read in (lambda found: bars_of(found, STREAM), newest_open):
            try:
                read(rows)
            except MalformedFrame:
                refused += 1
    assert refused > 100
    assert newest_open(ROWS) == OPEN + HOUR


# --- errors


def error_of(*names: str) -> Exception:
    """Make an error as ccxt does: a class below others, in one of its modules."""
    base: type = builtins.Exception
    for name in ("BaseError", *names):
        base = type(name, (base,), {"__module__": "ccxt.base.errors"})
    return base("kucoin  GET https://x\n<html>" + "x" * 900)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("ExchangeError", "BadRequest", "BadSymbol"), RefusalKind.UNKNOWN_STREAM),
        (("NetworkError", "RateLimitExceeded"), RefusalKind.RATE_LIMIT),
        (("NetworkError", "DDoSProtection"), RefusalKind.RATE_LIMIT),
        (("ExchangeError", "AuthenticationError", "PermissionDenied"), RefusalKind.REJECTED),
        (("ExchangeError", "NotSupported"), RefusalKind.REJECTED),
        (("NetworkError", "ExchangeNotAvailable", "OnMaintenance"), RefusalKind.FAILED),
        (("NetworkError", "RequestTimeout"), RefusalKind.FAILED),
        (("ExchangeError", "BadRequest"), RefusalKind.FAILED),
    ],
)
def test_errors_mean_what_their_classes_say(names: tuple[str, ...], kind: RefusalKind):
    """A limit asks for a pause, as long as the venue said; the text is one short line."""
    error = error_of(*names)
    assert is_of_ccxt(error)
    refusal = refusal_of("ccxt:kucoin", error, {"retry-after": "7"})
    assert refusal.kind is kind
    assert refusal.retry_after_s == (7.0 if kind is RefusalKind.RATE_LIMIT else 0.0)
    assert refusal.text.startswith(f"ccxt:kucoin: {names[-1]} kucoin GET https://x <html>xxx")
    assert len(refusal.text) < 260
    assert refusal_of("x", error_of("DDoSProtection"), {}).retry_after_s == 30.0


def test_an_error_of_another_kind_is_none_of_ccxt():
    """What it raises over bytes that it cannot read."""
    assert not is_of_ccxt(KeyError("data"))


# --- addresses


@given(http=st.sampled_from(["http", "https"]), ws=st.sampled_from(["ws", "wss"]))
def test_hosts_are_replaced_and_paths_stay(http: str, ws: str):
    """In any depth; an address that is not replaced stays as it was, as does what is none."""
    plain = {"rest": f"{http}://{{hostname}}/api/v3", "ws": f"{ws}://a.b:9443/ws", "n": 1}
    urls = {**plain, "public": plain}
    moved = {"rest": "http://127.0.0.1:1/api/v3", "ws": "ws://127.0.0.1:2/x/ws", "n": 1}
    found = relocated(urls, "http://127.0.0.1:1", "ws://127.0.0.1:2/x/")
    assert found == {**moved, "public": moved}
    assert relocated(urls, None, None) == urls
