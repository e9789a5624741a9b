"""What /metrics tells: its text, its values, and that making it holds nobody up."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.web.metrics_world import (
    NOW,
    OPENMETRICS,
    Values,
    card,
    drift,
    entry,
    own,
    scrape,
    sources,
    track,
    values,
)
from candled.core.bar import HOUR, Stream
from candled.core.decision import Side
from candled.core.track import Standing
from candled.ports import Act, Hazard, Health, Incident, ServiceState, StreamHealth, StreamState
from candled.service import BatchTimes
from candled.tally import Tally
from candled_adapters.web.metrics import Metrics
from candled_adapters.web.metrics_kinds import KINDS
from journals import BTC, ETH, START

HOSTILE = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable() or "\n" in text)
WORDS = st.one_of(st.text(max_size=8), st.sampled_from(["2.0.0", "0.0.1", "values", "x.y"]))
ACCEPTED = st.builds(
    "{}; version={}; escaping={}, text/plain; version={}".format,
    st.sampled_from(["application/openmetrics-text", "text/plain"]), WORDS, WORDS, WORDS,
)  # fmt: skip
NO_TIMES = BatchTimes(0, 0, 0, 0)


def look(metrics: Metrics, accept: str = "") -> Values:
    return values(scrape(metrics, accept))


def of(found: Values, figure: str, /, **labels: str) -> float | None:
    return found.get((figure, frozenset(labels.items())))


def labels(stream: Stream) -> dict[str, str]:
    return {"exchange": stream.exchange, "symbol": stream.symbol, "interval": stream.interval}


def states(found: Values) -> list[float | None]:
    return [of(found, "candled_service_state", state=state) for state in ServiceState]


# --- the text


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_figure_is_told_once_with_its_type_and_help(accept: str):
    """Also one that has no value yet: whoever writes an alert can look up what it is."""
    families = {family.name: family for family in scrape(Metrics(sources([])), accept)}
    for kind in KINDS:
        told = families[kind.name.removesuffix("_total")]
        assert (told.type, told.documentation) == (kind.type, kind.help)
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_a_scraper_gets_the_format_that_it_asks_for():
    """OpenMetrics ends with its mark and is named as such; anybody else gets the plain text."""
    metrics = Metrics(sources([BTC]))
    prometheus = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
    )
    text, content_type = asyncio.run(metrics.exposition(prometheus))
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"\n# EOF\n")
    assert text.count(b"# EOF") == 1
    for accept in ("", "*/*", "text/html"):
        text, content_type = asyncio.run(metrics.exposition(accept))
        assert content_type == "text/plain; version=0.0.4; charset=utf-8"
        assert b"# EOF" not in text


@settings(max_examples=60, deadline=None)
@given(accept=st.one_of(st.text(max_size=80), ACCEPTED))
def test_whatever_a_client_accepts_it_gets_a_text(accept: str):
    """Nothing of a request can break the text, or come back in the content type."""
    text, content_type = asyncio.run(Metrics(sources([])).exposition(accept))
    assert text.startswith(b"# HELP candled_build_info ")
    assert content_type in {
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
    }


@settings(max_examples=60, deadline=None)
@given(exchange=HOSTILE, symbol=HOSTILE, accept=st.sampled_from(["", OPENMETRICS]))
def test_no_name_breaks_the_text(exchange: str, symbol: str, accept: str):
    """Quotes, backslashes, line ends and braces of a venue's names come back as they were."""
    stream = Stream(exchange, symbol, "1h")
    tally = Tally()
    tally.durable([entry(stream, Side.LONG)], NO_TIMES)
    found = look(Metrics(sources([stream], tally)), accept)
    assert of(found, "candled_signals_total", **labels(stream), side="long") == 1
    assert of(found, "candled_venue_clock_offset_seconds", exchange=exchange) == 1.5


def many(count: int) -> list[Stream]:
    return [Stream("binance", f"S{number:04}", "1h") for number in range(count)]


def test_both_formats_of_many_streams_say_the_same():
    """What is written in slices has each sample once, under one head; no format lacks any."""
    streams = many(250)
    tally = Tally()
    tally.durable([entry(stream, Side.SHORT) for stream in streams], NO_TIMES)
    metrics = Metrics(sources(streams, tally))
    plain, opened = own(look(metrics)), own(look(metrics, OPENMETRICS))
    assert plain == opened
    for stream in streams:
        assert of(plain, "candled_decisions_total", **labels(stream), side="short") == 1
    text, _ = asyncio.run(metrics.exposition(""))
    lines = text.decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    samples = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(set(names)) == len(names)
    assert len(set(samples)) == len(samples)


def test_the_loop_turns_while_a_text_is_made():
    """A scrape of many streams is many short holds of the loop and none that grows with them."""

    async def body() -> None:
        turns, making = 0, asyncio.create_task(Metrics(sources(many(1_000))).exposition())
        while not making.done():
            await asyncio.sleep(0)
            turns += 1
        lines = (await making)[0].count(b"\n")
        assert lines > 10_000
        assert turns > lines / 150

    asyncio.run(body())


def test_the_process_tells_of_itself_and_no_other_registry_is_used():
    """Its memory, its files and its collector are there; figures of two daemons do not mix."""
    first, second = Metrics(sources([BTC])), Metrics(sources([ETH]))
    found = look(first)
    assert (of(found, "process_resident_memory_bytes") or 0) > 1e6
    assert of(found, "process_open_fds") is not None
    assert of(found, "python_gc_collections_total", generation="2") is not None
    assert of(found, "candled_stream_live", **labels(BTC)) == 1
    assert of(look(second), "candled_stream_live", **labels(BTC)) is None


def test_what_is_asked_is_loaded_only_by_who_tells_it():
    """The sources can be had without the client library, and with it comes no pickle."""
    code = (
        "import sys; import candled_adapters.web.metrics_facts as f; import candled.compose;"
        "assert 'prometheus_client' not in sys.modules;"
        "before = set(sys.modules); import candled_adapters.web.metrics;"
        "bad = {'pickle', 'pandas', 'sklearn', 'joblib', 'multiprocessing'} & set(sys.modules);"
        "assert not bad - before, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- the values


def test_the_service_is_told_as_it_stands():
    """One state is 1; what nobody knows, such as readiness without a page, is absent."""
    found = look(Metrics(sources([])))
    assert of(found, "candled_build_info", version="1.2.3", python=sys.version.split()[0]) == 1
    assert states(found) == [1, 0, 0]
    assert of(found, "candled_ready") is None
    assert of(found, "candled_watchdog_beats_total") is None
    assert of(found, "candled_loop_late_max_seconds") == 0.25
    assert of(found, "candled_mqtt_connected") == 1
    assert of(found, "candled_outbox_entries", sink="log") == 7
    assert of(found, "candled_state_free_bytes") == 10
    assert of(found, "candled_state_size_bytes") == 30
    assert of(found, "candled_journal_bytes") == 4
    ill = sources(
        [],
        health=lambda: Health(ServiceState.DEGRADED, ("mqtt: away",), START),
        problem={"mqtt": "away"}.get,
        ready=lambda: False,
        watchdog_beats=lambda: 12,
        disk=lambda: None,
        refused=lambda: {"mqtt": 3},
    )
    found = look(Metrics(ill))
    assert states(found) == [0, 1, 0]
    assert of(found, "candled_ready") == 0
    assert of(found, "candled_watchdog_beats_total") == 12
    assert of(found, "candled_mqtt_connected") == 0
    assert of(found, "candled_refused_total", sink="mqtt") == 3
    assert of(found, "candled_state_free_bytes") is None


def test_a_broker_is_there_when_it_is_whatever_else_is_wrong():
    """A service that is degraded by a stream publishes as before; a broker's problem is its own."""
    health = Health(ServiceState.DEGRADED, ("binance/BTCUSDT/1h: holding",), START)
    found = look(Metrics(sources([], health=lambda: health)))
    assert of(found, "candled_mqtt_connected") == 1
    found = look(Metrics(sources([], problem={"log": "disk full"}.get)))
    assert of(found, "candled_mqtt_connected") == 1


def test_a_broker_and_the_health_that_it_makes_are_of_one_moment():
    """What changes while a text is made in slices contradicts nothing in it."""
    wrong: dict[str, str] = {}

    def health() -> Health:
        return Health(ServiceState.DEGRADED if wrong else ServiceState.ONLINE, (), START)

    async def body() -> None:
        metrics = Metrics(sources([], health=health, problem=wrong.get))
        for turns in range(12):
            wrong.clear()
            making = asyncio.create_task(metrics.exposition())
            for _ in range(turns):
                await asyncio.sleep(0)
            wrong["mqtt"] = "away"
            text = (await making)[0]
            degraded = b'candled_service_state{state="degraded"} 1.0' in text
            assert degraded == (b"candled_mqtt_connected 0.0" in text)

    asyncio.run(body())


def test_a_stream_is_told_as_it_stands():
    """State, lag of the newest decision, and how late the next one is by the venue's clock."""
    states = {BTC: StreamHealth(BTC, StreamState.HOLDING, "a bar is missing")}
    newest = [entry(BTC, Side.LONG, hour=1), entry(ETH, Side.FLAT, hour=0, after_ms=40)]
    late_ms = 2_500
    metrics = Metrics(
        sources(
            [BTC, ETH, Stream("kraken", "BTC/USD", "1m")],
            latest=lambda: [newest[1], entry(BTC, Side.FLAT, hour=0), newest[0]],
            state=states.get,
            clock=lambda _: type("Late", (), {"now_ms": lambda _: START + 2 * HOUR + late_ms})(),
        )
    )
    found = look(metrics)
    assert of(found, "candled_stream_live", **labels(BTC)) == 0
    assert of(found, "candled_stream_state", **labels(BTC), state="holding") == 1
    assert of(found, "candled_stream_state", **labels(BTC), state="live") is None
    assert of(found, "candled_stream_live", **labels(ETH)) is None
    assert of(found, "candled_streams", state="holding") == 1
    assert of(found, "candled_streams", state="live") == 0
    closed_s = of(found, "candled_stream_close_timestamp_seconds", **labels(BTC))
    assert closed_s == (START + 2 * HOUR) / 1e3
    assert of(found, "candled_stream_lag_seconds", **labels(BTC)) == 0.015
    assert of(found, "candled_stream_lag_seconds", **labels(ETH)) == 0.043
    assert of(found, "candled_stream_late_seconds", **labels(BTC)) == 0
    assert of(found, "candled_stream_late_seconds", **labels(ETH)) == late_ms / 1e3
    silent = {key for key in found if ("exchange", "kraken") in key[1] and "stream" in key[0]}
    assert silent == set()


def test_a_correction_says_nothing_of_a_streams_lag():
    """It came when the venue revised the bar; the decision that it replaced is not the newest."""
    corrected = entry(BTC, Side.LONG, correction=True, after_ms=999_999)
    older = entry(BTC, Side.FLAT)
    found = look(Metrics(sources([BTC], latest=lambda: [older, corrected])))
    assert of(found, "candled_stream_lag_seconds", **labels(BTC)) is None
    assert of(found, "candled_stream_late_seconds", **labels(BTC)) == 0


def test_a_venues_troubles_are_told_by_exchange():
    """Incidents by what they were and what was done; connections made anew; clocks apart."""
    tally = Tally()
    lost = Incident("binance", None, Hazard.CONNECTION_LOST, Act.RECONNECT, "1006", NOW)
    mute = Incident("binance", None, Hazard.MUTE_CONNECTION, Act.RECONNECT, "mute", NOW)
    gap = Incident("binance", BTC, Hazard.GAP, Act.FLAG, "two bars", NOW)
    for incident in (lost, lost, mute, gap):
        tally.met(incident)
    found = look(Metrics(sources([BTC, ETH, Stream("okx", "BTC-USDT", "1m")], tally)))
    told = {"exchange": "binance", "hazard": "connection_lost", "act": "reconnect"}
    assert of(found, "candled_incidents_total", **told) == 2
    assert of(found, "candled_feed_reconnects_total", exchange="binance") == 3
    assert of(found, "candled_feed_reconnects_total", exchange="okx") == 0
    assert of(found, "candled_gaps_total", **labels(BTC)) == 1
    assert of(found, "candled_gaps_total", **labels(ETH)) == 0
    assert of(found, "candled_venue_clock_offset_seconds", exchange="okx") == 1.5


def test_models_are_told_with_their_age_and_expiry():
    """A model that never expires has no such time, and one digest is told once."""
    unknown = {"expires_at": None, "trained_until": None}
    cards = (card(), card("e" * 64, role="challenger", signed=True, **unknown))
    found = look(Metrics(sources([BTC], cards=lambda: (*cards, card(role="challenger")))))
    said = {"digest": "e" * 64, "name": "BTCUSDT_1h", "role": "challenger", "feature_set": "mar"}
    assert of(found, "candled_model_info", **said, signed="yes") == 1
    until = "candled_model_trained_until_timestamp_seconds"
    expires = "candled_model_expires_timestamp_seconds"
    assert of(found, until, digest="d" * 64) == START / 1e3
    assert of(found, expires, digest="d" * 64) == (START + HOUR) / 1e3
    assert of(found, until, digest="e" * 64) is None
    assert of(found, expires, digest="e" * 64) is None


def test_records_are_told_beside_what_was_claimed():
    """Champion and challenger, percent as shares; what is not known yet is absent."""
    tracks = {BTC: track(BTC), ETH: track(ETH, Standing.BROKEN)}
    few = track(BTC, Standing.TOO_FEW, n=0, hits=0, low=None, high=None, claimed=None,
                expectancy_pct=None, claimed_pct=None, calibration=None)  # fmt: skip
    asked = sources([BTC, ETH], tracks=tracks.get, challenger_tracks={BTC: few}.get)
    found = look(Metrics(asked))

    def told(stream: Stream, role: str) -> dict[str, float]:
        mine = frozenset({*labels(stream).items(), ("role", role)})
        named = {key[0]: value for key, value in found.items() if key[1] == mine}
        return {name.removeprefix("candled_track_"): value for name, value in named.items()}

    assert told(BTC, "champion") == {
        "signals": 50, "pending": 3, "hit_ratio": 0.6, "hit_low_ratio": 0.46,
        "hit_high_ratio": 0.73, "claimed_ratio": 0.625, "expectancy_ratio": 0.005,
        "claimed_expectancy_ratio": 0.0075, "calibration_ratio": 0.03125, "claim_broken": 0,
    }  # fmt: skip
    assert told(ETH, "champion")["claim_broken"] == 1
    assert told(BTC, "challenger") == {"signals": 0, "pending": 3}
    assert told(ETH, "challenger") == {}


def test_drift_is_told_by_stream():
    """All that is known of it; of a stream without a reference only how many rows there are."""
    bare = drift(ETH, psi_median=None, moved_share=None, outside_share=None, psi_answers=None)
    found = look(Metrics(sources([BTC, ETH], drift={BTC: drift(BTC), ETH: bare}.get)))
    names = ("rows", "psi_median", "moved_ratio", "outside_ratio", "answers_psi")
    told = [of(found, f"candled_drift_{name}", **labels(BTC)) for name in names]
    assert told == [500, 0.0625, 0.125, 0.25, 0.5]
    told = [of(found, f"candled_drift_{name}", **labels(ETH)) for name in names]
    assert told == [500, None, None, None, None]
