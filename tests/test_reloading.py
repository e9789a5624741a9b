"""A reload takes over everything or nothing, behind the same gate as a start, and says which."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from brokers import mosquitto, needs_mosquitto
from candled.board import Board
from candled.config import Config, ConfigError, load_config
from candled.core.engine import Engine
from candled.core.lane import Lineup
from candled.journal import holder, open_journal, open_reader
from candled.lineup import load_lanes, load_lineup
from candled.outlets import PresentInfo
from candled.ports import Act, Hazard, Incident
from candled.reload import ask_reload
from candled.reloaded import NAME, Reloaded, find, leave
from candled.reloading import PART, Load, Present, Reloader, changed_lanes, needs_restart
from candled.service import Service
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from candled_adapters.artifacts.signature import write_signature
from candled_adapters.protocol.signing import Signer
from fakes import FixedClock, ended, until
from models import bundle, changed, model
from test_service import BTC, HISTORY, NOW, RecordedFeed, history, live

OURS = Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CONFIG = """
[mqtt]
url = "mqtt://127.0.0.1:9"
[models]
[policy]
[exchanges.binance]
dialect = "binance-spot"
ws_url = "ws://127.0.0.1:9"
[exchanges.other]
dialect = "okx"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "model"
"""


class House:
    """A configuration on disk, and the service that runs with it."""

    def __init__(self, folder: Path, *emissions: Any) -> None:
        self.file = folder / "config.toml"
        self.write()
        bundle(folder / "model")
        config = load_config(self.file)
        self.present = Present(config, load_lineup(config, self.file))
        self.journal = open_journal(config.state.path)
        self.board = Board(lambda: NOW)
        self.told: list[Incident] = []
        self.swaps = 0
        self.feed = RecordedFeed(*emissions)
        self.service = Service(
            engine=Engine(self.present.lanes), journal=self.journal, feeds=[self.feed], sinks=[],
            board=self.board, tell=self.told.append,
        )  # fmt: skip
        self.load: Load = load_lineup
        self.reloader = Reloader(
            self.file, self.present, load=self._load,
            swap=self.service.swap, board=self.board, tell=self.told.append,
            clocks=lambda _: FixedClock(NOW), after=[self._count],
        )  # fmt: skip

    def _load(self, config: Config, source: Path) -> Lineup:
        return self.load(config, source)

    def _count(self) -> None:
        self.swaps += 1

    @property
    def model(self) -> Path:
        return self.file.parent / "model"

    def write(self, old: str = "", new: str = "") -> None:
        """Write the configuration with one change."""
        assert old in CONFIG
        self.file.write_text(CONFIG.replace(old, new) if old else CONFIG)

    def other_model(self, **fields: object) -> None:
        """Put another bundle in the place of the model's."""
        write_bundle(changed(**(fields or {"threshold": 0.45})), self.model)

    async def reload(self) -> Reloaded:
        """Ask for a reload and wait for what it leaves."""
        since = time.monotonic_ns()
        self.reloader.ask()
        await until(lambda: find(self.present.config.state.path, since))
        said = find(self.present.config.state.path, since)
        assert said is not None
        return said

    @property
    def remarks(self) -> list[str]:
        return [text for text in self.board.health.reasons if text.startswith(f"{PART}: ")]


@asynccontextmanager
async def running(folder: Path, *emissions: Any) -> AsyncIterator[House]:
    house = House(folder, *emissions)
    stop = asyncio.Event()
    serving = asyncio.create_task(house.service.run(stop))
    reloading = asyncio.create_task(house.reloader.run())
    try:
        yield house
        stop.set()
        await serving
    finally:
        await ended(reloading)
        await ended(serving)
        house.journal.close()


# --- what may change


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (':9"\n[models]', ':8"\n[models]', ["mqtt.url: is not what"]),
        ("[models]", '[log]\nlevel = "error"\n[models]', ["log.level: is not what"]),
        ("[models]", "[state]\nkeep_days = 1\n[models]", ["state.keep_days: is not what"]),
        ("ws://127.0.0.1:9", "ws://127.0.0.1:8", ["exchanges.binance.ws_url: is not what"]),
        ('"okx"', '"kraken"', ["exchanges.other.dialect: is not what"]),
        ("[exchanges.other]", "[exchanges.third]", ["exchanges.other: ", "exchanges.third: "]),
        ('["BTCUSDT"]', '["BTCUSDT", "ETHUSDT"]', ["streams: added binance/ETHUSDT/1h; restart"]),
        ('"1h"', '"4h"', ["streams: added binance/BTCUSDT/4h; ", "streams: removed binance/BTC"]),
    ],
)  # fmt: skip
def test_what_cannot_change_is_named_by_its_key(
    tmp_path: Path, old: str, new: str, said: list[str]
):
    """Each with the mend, all of them, and what did not change is not named."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    before = load_config(file)
    assert needs_restart(before, before) == []
    assert old in CONFIG
    file.write_text(CONFIG.replace(old, new))
    found = needs_restart(before, load_config(file))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True)), found
    assert all("restart" in text for text in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[policy]", "[policy]\nregime_gate = true"),
        ('"model"', '"other"'),
        ('"model"', '"model"\nany_symbol = true\npolicy = { threshold = 0.9 }'),
        ("[models]", f'[models]\ntrusted_keys = ["{OURS.public_key}"]'),
    ],
)
def test_models_and_policies_may_change(tmp_path: Path, old: str, new: str):
    """Bundles, policies, whether a stranger's symbol is allowed, and whose models are trusted."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    before = load_config(file)
    file.write_text(CONFIG.replace(old, new))
    assert needs_restart(before, load_config(file)) == []


def test_streams_may_be_sorted_into_other_tables(tmp_path: Path):
    """So one of them can get a bundle of its own; it is the streams that must stay."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.replace('["BTCUSDT"]', '["ETHUSDT", "BTCUSDT"]'))
    before = load_config(file)
    part = CONFIG[CONFIG.index("[[streams]]") :].replace("BTCUSDT", "ETHUSDT")
    file.write_text(CONFIG + part.replace('"model"', '"other"'))
    assert needs_restart(before, load_config(file)) == []


# --- done


def test_a_reload_decides_with_the_new_model_from_the_next_bar_on(tmp_path: Path):
    """The old one's decisions stay; digests, info and incident say who is who."""

    async def body() -> None:
        first, second = live(BTC, HISTORY, HISTORY + 5), live(BTC, HISTORY + 5, HISTORY + 9)
        async with running(tmp_path, [history(BTC)], first) as house:
            info = PresentInfo(house.present, "e1")
            await until(lambda: house.journal.last_position == 5)
            old, before = house.present.lanes[0].model.digest, info()
            assert info() is before
            house.other_model()
            said = await house.reload()
            new = house.present.lanes[0].model.digest
            assert old != new
            assert said.done
            policy = house.journal.after(0, 1)[0].decision.policy_digest
            assert said.changed == (
                (
                    f"binance/BTCUSDT/1h: model BTCUSDT_1h {old} -> {new}, policy "
                    f"{policy} -> {house.present.lanes[0].policy.digest}"
                ),
            )
            assert [model.digest for model in info().models] == [new]
            assert info().config_digest == before.config_digest
            (told,) = house.told
            assert (told.hazard, told.act) == (Hazard.MODEL_SWAPPED, Act.SWAP)
            assert (told.stream, told.venue_ms) == (BTC, NOW)
            assert f"{BTC.path}: {told.text}" == said.changed[0]
            assert house.swaps == 1
            await house.service._inbox.put(second)
            await until(lambda: house.journal.last_position == 9)
            made = [entry.decision for entry in house.journal.after(0, 99)]
            assert [one.model_digest for one in made] == [old] * 5 + [new] * 4

    asyncio.run(body())


def test_a_reload_that_finds_nothing_new_changes_nothing(tmp_path: Path):
    """It is done all the same, tells nobody, and the engine is the one that was."""

    async def body() -> None:
        async with running(tmp_path, [history(BTC)]) as house:
            await until(lambda: house.service._needs)
            engine = house.service._engine
            said = await house.reload()
            assert (said.done, said.changed) == (True, ())
            assert house.service._engine is engine
            assert house.told == []
            for _ in range(3):  # as long as some more would take
                await asyncio.to_thread(load_lanes, house.present.config, house.file)
            assert house.swaps == 1

    asyncio.run(body())


def test_a_policy_alone_is_a_change(tmp_path: Path):
    """The incident names what was and what is; the model is not named."""

    async def body() -> None:
        async with running(tmp_path, [history(BTC)]) as house:
            await until(lambda: len(house.journal.bars(BTC, HISTORY)) == HISTORY)
            house.write("[policy]", "[policy]\ncooldown_bars = 0\nvalid_bars = 2")
            said = await house.reload()
            assert said.done
            (line,) = said.changed
            assert line.startswith("binance/BTCUSDT/1h: policy ")
            assert "model" not in line

    asyncio.run(body())


# --- refused


def _half(folder: Path) -> None:
    file = folder / "model" / "manifest.json"
    file.write_bytes(file.read_bytes()[:700])


def _missing(folder: Path) -> None:
    shutil.rmtree(folder / "model")


def _golden(folder: Path) -> None:
    file = folder / "model" / "golden.json"
    file.write_text(file.read_text().replace("0x1.", "0x1.8", 1))


def _booster(folder: Path) -> None:
    file = folder / "model" / "model.ubj"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _interval(folder: Path) -> None:
    write_bundle(changed(interval="4h"), folder / "model")


def _symbol(folder: Path) -> None:
    write_bundle(changed(symbol="ETHUSDT"), folder / "model")


def _unsigned(folder: Path) -> None:
    text = CONFIG.replace("[models]", f'[models]\ntrusted_keys = ["{OURS.public_key}"]')
    (folder / "config.toml").write_text(text)


def _stranger(folder: Path) -> None:
    _unsigned(folder)
    strange = Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
    write_signature(folder / "model", load_bundle(folder / "model").manifest.digest, strange)


def _half_toml(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG[:-9])


def _unknown_key(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace("[policy]", "[policy]\ntreshold = 0.5"))


def _no_ranges(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace("[policy]", "[policy]\nnovelty_max = 0.1"))


def _ageless(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace("[policy]", "[policy]\nmax_age_days = 9"))
    write_bundle(changed(provenance={}), folder / "model")


def _broker_too(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG.replace(":9", ":8"))
    _missing(folder)


BREAKS = [
    _half, _missing, _golden, _booster, _interval, _symbol, _unsigned, _stranger, _half_toml,
    _unknown_key, _no_ranges, _ageless, _broker_too,
]  # fmt: skip


@pytest.mark.parametrize("breaks", BREAKS, ids=lambda breaks: breaks.__name__)
def test_whatever_is_wrong_nothing_changes_and_all_of_it_is_said(
    tmp_path: Path, breaks: Callable[[Path], None]
):
    """In the words of `check`; the remark is there until the next reload that is done."""

    async def body() -> None:
        async with running(tmp_path, [history(BTC)]) as house:
            await until(lambda: len(house.journal.bars(BTC, HISTORY)) == HISTORY)
            engine, present = house.service._engine, (house.present.config, house.present.lanes)
            breaks(tmp_path)
            said = await house.reload()
            assert not said.done
            assert list(said.problems)[-1:] == _problems(house.file)[-1:]
            assert set(said.problems) - set(_problems(house.file)) == _only_for_the_running(said)
            assert house.service._engine is engine
            assert house.present.config is present[0]
            assert house.present.lanes is present[1]
            assert (house.told, house.swaps) == ([], 0)
            (remark,) = house.remarks
            assert remark.startswith("reload: refused, nothing changed: ")
            house.write()
            shutil.rmtree(house.model, ignore_errors=True)
            bundle(house.model)
            assert (await house.reload()).done
            assert house.remarks == []

    asyncio.run(body())


def _problems(file: Path) -> list[str]:
    """Return what a start says."""
    try:
        load_lanes(load_config(file), file)
    except ConfigError as error:
        return error.problems
    return []


def _only_for_the_running(said: Reloaded) -> set[str]:
    return {text for text in said.problems if "is not what the daemon runs with" in text}


def test_a_good_model_is_not_taken_over_beside_a_key_that_needs_a_restart(tmp_path: Path):
    """All or nothing."""

    async def body() -> None:
        async with running(tmp_path, [history(BTC)]) as house:
            await until(lambda: len(house.journal.bars(BTC, HISTORY)) == HISTORY)
            engine = house.service._engine
            house.other_model()
            house.write(":9", ":8")
            said = await house.reload()
            assert not said.done
            assert [text.split(":")[0] for text in said.problems] == [
                "mqtt.url",
                "exchanges.binance.ws_url",
            ]
            assert house.service._engine is engine
            house.write()
            assert (await house.reload()).done
            assert house.service._engine is not engine

    asyncio.run(body())


def test_a_remark_does_not_degrade_the_service(tmp_path: Path):
    """Who trades by the old model can rely on it as before."""

    async def body() -> None:
        async with running(tmp_path) as house:
            await until(lambda: house.service._needs)
            house.board.report(BTC.path, None)
            _missing(tmp_path)
            await house.reload()
            assert house.board.health.state.value == "online"
            assert house.remarks

    asyncio.run(body())


def test_a_failure_that_nobody_foresaw_is_a_refusal(tmp_path: Path):
    """A bug in a feature set's package, say: what runs must run on."""

    async def body() -> None:
        async with running(tmp_path) as house:
            await until(lambda: house.service._needs)

            def load(*_: object) -> Lineup:
                raise RuntimeError("a toaster")

            house.load = load
            said = await house.reload()
            assert said.problems == ("RuntimeError: a toaster",)
            house.load = load_lineup
            assert (await house.reload()).done

    asyncio.run(body())


def test_a_model_that_needs_a_restart_is_refused_with_the_mend(tmp_path: Path):
    """More history than the journal has cannot be had while the feed runs."""

    async def body() -> None:
        async with running(tmp_path, [history(BTC)]) as house:
            await until(lambda: len(house.journal.bars(BTC, HISTORY)) == HISTORY)
            house.write("[policy]", "[policy]\ncooldown_bars = 3")
            said = await house.reload()
            assert said.problems == (
                (
                    f"binance/BTCUSDT/1h: needs {HISTORY + 3} bars of history, the journal has "
                    f"{HISTORY} of it; restart candled, which asks the venue for them"
                ),
            )
            assert house.present.lanes[0].policy.cooldown_bars == 0

    asyncio.run(body())


def test_asking_during_a_reload_makes_another_one_after_it(tmp_path: Path):
    """What was written after the first had read is not missed."""

    async def body() -> None:
        async with running(tmp_path, [history(BTC)]) as house:
            await until(lambda: len(house.journal.bars(BTC, HISTORY)) == HISTORY)
            read, go_on = threading.Event(), threading.Event()

            def load(*asked: Any) -> Any:
                lineup = load_lineup(*asked)
                read.set()
                assert go_on.wait(20)
                return lineup

            house.load = load
            house.reloader.ask()
            await until(read.is_set)
            house.other_model()
            since = time.monotonic_ns()
            house.reloader.ask()
            house.reloader.ask()
            go_on.set()
            folder = house.present.config.state.path
            await until(lambda: find(folder, since))
            assert house.present.lanes[0].model.threshold == 0.45
            assert house.swaps == 2

    asyncio.run(body())


def test_a_bundle_that_is_replaced_while_it_is_read_is_refused_or_whole(tmp_path: Path):
    """Never half of one and half of the other."""
    bundle(tmp_path / "model")
    specs = [changed(threshold=0.41), changed(threshold=0.43)]
    digests = {write_bundle(spec, tmp_path / "x").manifest.digest for spec in specs}
    write_bundle(specs[0], tmp_path / "model")
    (tmp_path / "config.toml").write_text(CONFIG)
    done = threading.Event()

    def replace() -> None:
        for turn in range(14):
            write_bundle(specs[turn % 2], tmp_path / "model")
        done.set()

    config = load_config(tmp_path / "config.toml")
    writer = threading.Thread(target=replace)
    writer.start()
    seen, refused = set(), []
    try:
        while not done.is_set():
            try:
                seen |= {lane.model.digest for lane in load_lanes(config, tmp_path / "c")}
            except ConfigError as error:
                refused += error.problems
    finally:
        writer.join()
    assert seen <= digests
    assert [text for text in refused if not text.startswith("bundle ")] == []


def test_only_lanes_that_differ_in_model_or_policy_have_changed(tmp_path: Path):
    """A bundle that says the same is the same, wherever it was read from."""
    house = House(tmp_path)
    house.journal.close()
    again = load_lanes(house.present.config, house.file)
    assert again[0].model is not house.present.lanes[0].model
    assert changed_lanes(house.present.lanes, again) == []
    house.other_model()
    other = load_lanes(house.present.config, house.file)
    assert changed_lanes(again, other) == [(again[0], other[0])]
    assert other[0].model.digest != model().digest


# --- the command


def test_an_older_answer_or_a_broken_one_is_no_answer(tmp_path: Path):
    """Who asks waits for what began after that."""
    leave(tmp_path, Reloaded(began_ns=5, done=True))
    assert find(tmp_path, 5) == Reloaded(began_ns=5, done=True)
    assert find(tmp_path, 6) is None
    for content in (b"", b"{", b'{"began_ns": "x"}', b"\xff"):
        (tmp_path / NAME).write_bytes(content)
        assert find(tmp_path, 0) is None
    assert find(tmp_path / "nowhere", 0) is None


def test_nobody_is_signalled_who_does_not_hold_the_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The number in a lock is not believed: the system knows who holds it."""
    (tmp_path / "config.toml").write_text(CONFIG)
    assert ask_reload(tmp_path / "config.toml") == 1
    state = tmp_path / "state"
    state.mkdir()
    victim = subprocess.Popen(["sleep", "60"])
    try:
        (state / "lock").write_text(f"{victim.pid}\n")
        assert holder(state) is None
        assert ask_reload(tmp_path / "config.toml") == 1
        assert "no daemon runs on" in capsys.readouterr().err
        journal = open_journal(state)
        (state / "lock").write_text(f"{victim.pid}\n")  # as a number of another namespace would be
        assert holder(state) == os.getpid()  # who has the lock, not whose number is in it
        assert victim.poll() is None
        journal.close()
    finally:
        victim.kill()
        victim.wait()


@contextmanager
def simulator() -> Iterator[tuple[str, str]]:
    """Run a venue that closes two bars a second; give its addresses."""
    command = [sys.executable, "-m", "candled", "simulate", "--port", "0", "--symbols", "BTCUSDT"]
    command += ["--start-at", "900", "--speed", "14400"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        addresses = (line.split()[1] for line in child.stdout if line.startswith(("web", "rest ")))
        yield next(addresses), next(addresses)
    finally:
        child.terminate()
        child.communicate(timeout=10)


class Daemon:
    """`candled run` as a process, and what it tells systemd."""

    def __init__(self, folder: Path, port: int, urls: tuple[str, str]) -> None:
        self.folder = folder
        self.file = folder / "config.toml"
        text = CONFIG.replace('"mqtt://127.0.0.1:9"', f'"mqtt://127.0.0.1:{port}"')
        text = text.replace('ws_url = "ws://127.0.0.1:9"', f'ws_url = "{urls[0]}"\n'
            f'rest_url = "{urls[1]}"\nmax_skew_s = inf')  # fmt: skip
        self.text = text.replace("[models]", '[log]\ndecisions = ""\n[models]')
        self.file.write_text(self.text)
        bundle(folder / "model")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        self.systemd.settimeout(30)
        self.err = (folder / "err").open("w")
        self.child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "candled", "run", "--config", str(self.file)],
            stderr=self.err, stdout=subprocess.DEVNULL, text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")},
        )  # fmt: skip
        while self.systemd.recv(1000) != b"READY=1":
            pass

    def end(self) -> None:
        if self.child:
            self.child.kill()
            self.child.wait(10)
        self.systemd.close()
        self.err.close()

    def words(self) -> list[str]:
        """Return what systemd has been told since the last time, the line for people aside."""
        self.systemd.setblocking(False)
        said = []
        try:
            while True:
                said.append(self.systemd.recv(4000).decode())
        except BlockingIOError:
            return [text for text in said if not text.startswith("STATUS=")]
        finally:
            self.systemd.settimeout(30)

    def reload(self) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "candled", "reload", "--config", str(self.file)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def decisions(self) -> list[Any]:
        with open_reader(self.folder / "state") as reader:
            rows = reader.rows("SELECT entry FROM decisions ORDER BY position")
        return [json.loads(entry)["decision"] for (entry,) in rows]

    def wait_for(self, count: int) -> None:
        """Wait until so many decisions are there."""
        deadline = time.monotonic() + 30
        while len(self.decisions()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@needs_mosquitto
def test_a_running_daemon_reloads_by_command_and_after_a_kill_decides_no_slot_twice(tmp_path: Path):
    """Exit 0, 78 or 1 say what became of it; systemd, the info topic and events follow.

    Killed right after a swap, it goes on with the new model where the old one's decisions end.
    """
    (tmp_path / "broker").mkdir()
    with mosquitto(tmp_path / "broker") as broker, simulator() as urls:
        daemon = Daemon(tmp_path, broker.port, urls)
        try:
            daemon.start()
            daemon.wait_for(3)
            old = load_bundle(tmp_path / "model").manifest.digest
            heard = asyncio.run(_reload_and_listen(daemon, broker.port))
            new = load_bundle(tmp_path / "model").manifest.digest
            assert [info["models"][0]["digest"] for info in heard["candled/info"]] == [old, new]
            (event,) = [e for e in heard[f"candled/event/{BTC.path}"] if "hazard" in e]
            assert (event["hazard"], event["act"]) == ("model_swapped", "swap")
            assert f"{old} -> {new}" in event["text"]
            words = daemon.words()
            assert len(words) == 2
            assert words[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
            at_us = int(words[0].rpartition("=")[2])
            assert 0 < time.monotonic_ns() // 1000 - at_us < 60_000_000
            assert words[1] == "READY=1\nSTATUS=reloaded, 1 stream(s) changed"
            assert daemon.child is not None
            daemon.child.send_signal(signal.SIGKILL)
            daemon.child.wait()
            assert daemon.reload()[0] == 1
            count = len(daemon.decisions())
            daemon.start()
            daemon.wait_for(count + 3)
            _judge(daemon.decisions(), old, new)
            _refuse(daemon)
        finally:
            daemon.end()


async def _reload_and_listen(daemon: Daemon, port: int) -> dict[str, list[Any]]:
    """Replace the model and reload; return what was said on each topic."""
    from test_last_words import listening  # noqa: PLC0415 - a module of tests, too

    async with listening(port) as said:
        await until(lambda: said.get("candled/info"))
        daemon.words()
        write_bundle(changed(threshold=0.45), daemon.folder / "model")
        code, text = await asyncio.to_thread(daemon.reload)
        assert code == 0, text
        assert text.startswith("reloaded: 1 stream(s) changed\n  binance/BTCUSDT/1h: model ")
        await until(lambda: len(said["candled/info"]) == 2)
        await until(lambda: any("hazard" in e for e in said.get(f"candled/event/{BTC.path}", ())))
    return said


def _judge(made: list[Any], old: str, new: str) -> None:
    opened = [one["bar_open"] for one in made]
    assert opened == list(range(opened[0], opened[-1] + 1, 3_600_000)), "each slot once, in order"
    digests = [one["model_digest"] for one in made]
    turn = digests.index(new)
    assert digests == [old] * turn + [new] * (len(made) - turn)
    assert turn >= 3


def _refuse(daemon: Daemon) -> None:
    """See that a refusal has everything in it, and that the daemon runs on."""
    daemon.file.write_text(daemon.text.replace('"mqtt://', '"mqtts://'))
    _golden(daemon.folder)
    daemon.words()
    code, text = daemon.reload()
    assert code == 78
    assert "refused, nothing changed: 2 problem(s)\n  mqtt.url: is not what" in text
    assert "golden.json: has been changed or damaged" in text
    assert daemon.words()[1].startswith("READY=1\nSTATUS=refused, nothing changed: mqtt.url: ")
    daemon.wait_for(len(daemon.decisions()) + 1)
