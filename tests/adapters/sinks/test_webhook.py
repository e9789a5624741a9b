"""The webhook sink against a real HTTP server: what it sends, what it tells, whom it holds up."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog

from candled.core.decision import Side
from candled_adapters.sinks import webhook_wire
from candled_adapters.sinks.couriers import PostCourier, Wording, read_wording
from candled_adapters.sinks.orders import Wanted
from candled_adapters.sinks.retrying import Backoff
from candled_adapters.sinks.webhook import HISTORY_S, WebhookSink
from candled_adapters.sinks.webhook_wire import WireSettings, open_wire, tls_context
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from hooks import HANG, RESET, Receiver, Reply, Request, certificate, receiver

NAME = "webhook:t"
SECRET = "s3cr3t-t0ken"  # noqa: S105 - what must not be seen
QUICK = Backoff(0.01, 0.02)


@dataclass
class Scene:
    """A sink with what it works on."""

    outbox: MemoryOutbox
    clock: FixedClock
    board: Board = field(default_factory=Board)
    settings: WireSettings | None = None
    wording: Wording = field(default_factory=Wording)
    wanted: Wanted = field(default_factory=Wanted)
    timeout: float = 5.0
    open: Callable | None = None

    @asynccontextmanager
    async def running(self, url: str):
        settings = self.settings or WireSettings(url=url)

        @asynccontextmanager
        async def way(epoch: str):
            async with open_wire(settings) as wire:
                yield PostCourier(wire, self.wording, epoch, lambda: 1_735_689_661.9)

        sink = WebhookSink(
            "t", settings.place, self.wanted, self.open or way, lambda _: self.clock,
            timeout=self.timeout, backoff=QUICK,
        )  # fmt: skip
        task = asyncio.create_task(sink.run(self.outbox, self.board))
        try:
            yield
        finally:
            await ended(task)

    async def done(self) -> None:
        last = self.outbox.entries[-1].position
        await until(lambda: self.outbox.position(NAME) >= last, 15, "everything is marked")


def scene(*entries, **more) -> Scene:
    """Return a scene at the moment when the first bar was decided."""
    return Scene(MemoryOutbox(entries), FixedClock(EVENING_MS + 60_041), **more)


def play(work, script=lambda _: Reply(), **more) -> Receiver:
    """Run `work` with a target; return the target."""

    async def main() -> Receiver:
        async with receiver(script, **more) as target:
            await asyncio.wait_for(work(target), 20)
            return target

    return asyncio.run(main())


def once(setting: Scene, script=lambda _: Reply()) -> Receiver:
    """Let the sink deliver all that there is."""

    async def work(target: Receiver) -> None:
        async with setting.running(target.url):
            await setting.done()

    return play(work, script)


def test_an_order_is_posted_with_its_key_as_candleds_json():
    """One POST to the whole address, on one connection for all of them."""
    decisions = Decisions()
    entries = [decisions.make(side) for side in (Side.LONG, Side.FLAT, Side.SHORT)]
    target = once(scene(*entries))
    first, second = target.requests
    assert (first.method, first.target) == ("POST", "/hook")
    assert first.headers["content-type"] == "application/json"
    assert first.key == entries[0].decision.id == first.json["id"]
    assert (first.json["side"], second.json["side"]) == ("long", "short")
    assert "x-candled-signature" not in first.headers
    assert target.connections == 1


def test_a_template_and_headers_from_files_are_sent():
    """With the secret in the body and in a header."""
    template = read_wording('{"go": "{{action}} {{symbol}}", "t": "{{secret.t}}"}', {"t": SECRET})
    setting = scene(Decisions().make(), wording=Wording(template, template, {"t": SECRET}))

    async def work(target: Receiver) -> None:
        setting.settings = WireSettings(url=target.url, headers={"X-Token": SECRET})
        async with setting.running(target.url):
            await setting.done()

    (request,) = play(work).requests
    assert request.json == {"go": "enter_long BTCUSDT", "t": SECRET}
    assert request.headers["x-token"] == SECRET


def test_a_body_is_signed_with_the_time_of_sending():
    """So that a receiver can tell who sent it, and that it is no old one said again."""
    setting = scene(Decisions().make())

    async def work(target: Receiver) -> None:
        setting.settings = WireSettings(url=target.url, hmac_key="key")
        async with setting.running(target.url):
            await setting.done()

    (request,) = play(work).requests
    signed = b"1735689661." + request.body
    proof = hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    assert request.headers["x-candled-signature"] == f"t=1735689661,v1={proof}"


def test_a_certificate_is_checked(tmp_path):
    """With the right authority orders arrive; with the usual ones none does, and it is told."""
    cert, key = certificate(tmp_path, "target")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    trusted, wary = scene(Decisions().make()), scene(Decisions().make())

    async def work(target: Receiver) -> None:
        trusted.settings = WireSettings(url=target.url, tls=tls_context(cert))
        async with trusted.running(target.url):
            await trusted.done()
        async with wary.running(target.url):
            await until(lambda: wary.board.remarks)

    target = play(work, tls=tls)
    assert len(target.requests) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in str(wary.board.remarks[0][1])
    assert wary.outbox.marks == []


@pytest.mark.parametrize("answer", ["500", "refused", "reset", "certificate"])
def test_no_secret_is_ever_told(answer, capsys):
    """Neither in remarks, refusals or logs, even if the target says it; nor in a repr."""
    said = f"you sent {SECRET} to /hooks/{SECRET}\nforged line".encode()
    script = {"500": Reply(500, said), "refused": Reply(400, said), "reset": RESET}.get(
        answer, HANG
    )
    template = read_wording('{"t": "{{secret.t}}"}', {"t": SECRET})
    wording = Wording(template, template, {"t": SECRET})
    setting = scene(Decisions().make(), wording=wording, timeout=0.2)

    async def work(target: Receiver) -> None:
        scheme = "https" if answer == "certificate" else "http"
        url = f"{scheme}://127.0.0.1:{target.port}/hooks/{SECRET}?token={SECRET}"
        settings = WireSettings(
            url=url, headers={"X": SECRET}, username="u", password=SECRET, hmac_key=SECRET,
            secrets=frozenset({SECRET}),
        )  # fmt: skip
        setting.settings = settings
        assert SECRET not in repr(settings) + repr(wording)
        async with setting.running(url):
            await until(lambda: setting.board.remarks)
            setting.clock.now += 60_000
            await setting.done()

    structlog.reset_defaults()
    play(work, lambda _: script)
    told = repr((setting.board.remarks, setting.outbox.refused)) + "".join(capsys.readouterr())
    assert SECRET not in told
    assert "forged line" not in told or "\\nforged" not in told
    assert "127.0.0.1" in str(setting.board.remarks[0][1])
    assert len(setting.outbox.refused) == 1


def test_what_a_target_says_of_a_refusal_is_recorded_once():
    """With its words, on one line and not too long; and the next order goes on."""
    words = json.dumps({"error": "unknown pair", "more": "x" * 5000}).encode()
    decisions = Decisions()
    bad, good = decisions.make(), decisions.make()
    setting = scene(bad, good)
    target = once(setting, lambda r: Reply(400, words) if r.key == bad.decision.id else Reply())
    ((sink, position, reason),) = setting.outbox.refused
    assert (sink, position) == (NAME, bad.position)
    assert reason.startswith('enter long: answered 400: {"error": "unknown pair"')
    assert len(reason) < 300
    assert [request.key for request in target.requests] == [bad.decision.id, good.decision.id]
    assert setting.board.remarks[-1] == (NAME, None)


def test_a_redirect_is_not_followed():
    """An order must not reach a host that nobody configured."""
    setting = scene(Decisions().make())
    reached = []

    async def work(target: Receiver) -> None:
        async with receiver() as other:
            target.script = lambda _: Reply(307, headers={"Location": other.url})
            async with setting.running(target.url):
                await setting.done()
            reached.extend(other.requests)

    play(work)
    assert reached == []
    assert "redirects" in setting.outbox.refused[0][2]


def test_a_proxy_of_the_environment_sees_nothing(monkeypatch):
    """Nobody configured it for orders; they go to their target alone."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert len(once(scene(Decisions().make())).requests) == 1


def test_an_endless_answer_holds_up_nothing():
    """A status is enough, however much is said after it; memory stays bounded."""
    setting = scene(*Decisions().some(2))

    target = once(setting, lambda _: Reply(body=b"x" * 5_000_000, endless=True))
    assert len(target.requests) == 2
    assert setting.outbox.refused == []


def test_an_answer_whose_body_never_ends_is_an_answer(monkeypatch):
    """What was taken is not sent again because the target is slow to say more of it."""
    monkeypatch.setattr(webhook_wire, "_BODY_S", 0.05)
    setting = scene(*Decisions().some(2), timeout=2.0)
    target = once(setting, lambda _: Reply(body=b"o", stall=True))
    assert len(target.requests) == 2
    assert setting.board.remarks == [(NAME, None)] * 2


def test_a_signal_that_is_taken_back_while_it_waits_is_not_sent():
    """Nor is an exit sent for what was never entered; both are recorded."""
    decisions = Decisions()
    first, long = decisions.make(), decisions.make()
    setting = scene(first, long, decisions.correct(long, Side.FLAT), decisions.make(Side.SHORT))
    target = once(setting)
    assert [request.json["side"] for request in target.requests] == ["long", "short"]
    assert [reason for _, _, reason in setting.outbox.refused] == [
        "enter long: taken back before it was sent",
        "exit long: the signal that is taken back was never sent",
    ]


def test_a_signal_that_may_have_arrived_is_left_when_it_is_taken_back():
    """A try without an answer is no proof that nothing was bought."""
    decisions = Decisions()
    long = decisions.make()
    setting = scene(long, timeout=0.1)
    answers = iter([HANG])

    async def work(target: Receiver) -> None:
        async with setting.running(target.url):
            await until(lambda: target.requests)
            setting.outbox.add(decisions.correct(long, Side.FLAT))
            await setting.done()

    target = play(work, lambda _: next(answers, Reply()))
    assert [request.json["kind"] for request in target.requests] == ["enter", "exit"]
    assert "taken back before it was known to have arrived" in setting.outbox.refused[0][2]


def test_what_a_process_that_died_may_have_sent_is_left_when_it_is_taken_back():
    """The next process cannot know whether its first order had arrived; an exit does no harm."""
    decisions = Decisions()
    long = decisions.make()
    setting = scene(long, decisions.correct(long, Side.FLAT))
    target = once(setting)
    assert [request.json["kind"] for request in target.requests] == ["exit"]
    assert "taken back before it was known to have arrived" in setting.outbox.refused[0][2]


def test_a_late_order_is_recorded_and_not_sent():
    """At the very moment of its end; a second before, it is sent."""
    entries = Decisions().some(2)
    setting = scene(*entries)
    setting.clock.now = entries[0].decision.valid_until
    target = once(setting)
    assert [request.key for request in target.requests] == [entries[1].decision.id]
    assert setting.outbox.refused == [(NAME, 1, "enter long: expired")]
    setting = scene(*entries)
    setting.clock.now = entries[0].decision.valid_until - 1_000
    assert len(once(setting).requests) == 2


def test_an_attempt_does_not_outlast_its_order():
    """A connection that opens too late carries nothing: the attempt ends with the validity."""
    entry = Decisions().make()
    setting = scene(entry, timeout=10.0)
    setting.clock.now = entry.decision.valid_until - 150
    began = time.monotonic()

    async def work(target: Receiver) -> None:
        async with setting.running(target.url):
            await until(lambda: setting.board.remarks)
            setting.clock.now += 150
            await setting.done()

    play(work, lambda _: HANG)
    assert time.monotonic() - began < 5
    assert (
        setting.outbox.refused[0][2] == "enter long: expired, tried until then: no answer in time"
    )


def test_a_new_target_is_not_told_of_the_time_before_it():
    """What is more than a day too late is passed over without a word; the rest is recorded."""
    old, late, new = Decisions().some(3)
    setting = scene(old, late, new)
    setting.clock.now = late.decision.valid_until + int(HISTORY_S * 1000)
    target = once(setting)
    assert target.requests == []
    assert [position for _, position, _ in setting.outbox.refused] == [2, 3]
    known = scene(old, late, new)
    known.outbox.mark(NAME, 1)
    known.clock.now = setting.clock.now + 10 * int(HISTORY_S * 1000)
    once(known)
    assert [position for _, position, _ in known.outbox.refused] == [2, 3]


def test_a_dead_target_holds_up_nobody_else():
    """While one hangs and one refuses connections, a third gets all of 200 signals at once."""
    entries = Decisions().some(200)
    dead, gone, well = (scene(*entries) for _ in range(3))
    for setting in (dead, gone, well):
        setting.clock.now = EVENING_MS

    async def work(target: Receiver) -> None:
        async with (
            receiver(lambda _: HANG) as hanging,
            dead.running(hanging.url),
            gone.running("http://127.0.0.1:9/"),
            well.running(target.url),
        ):
            await well.done()

    target = play(work)
    assert [request.key for request in target.requests] == [e.decision.id for e in entries]
    assert dead.outbox.marks == gone.outbox.marks == []
    assert "tried again" in str(gone.board.remarks[-1][1])
    assert dead.board.reports == [], "others rely on the service as before"


def test_a_crash_between_the_answer_and_the_mark_says_it_again_alike():
    """With the same key and the same bytes, so that the target can tell."""

    class Dying(MemoryOutbox):
        def mark(self, sink: str, position: int) -> None:
            if not self.refused and not self.marks:
                self.marks.append(("died", 0))
                raise RuntimeError("the process is killed here")
            super().mark(sink, position)

    setting = scene()
    setting.outbox = Dying([Decisions().make()])

    async def work(target: Receiver) -> None:
        with pytest.raises(AssertionError, match="killed here"):
            async with setting.running(target.url):
                await until(lambda: setting.outbox.marks)
        setting.clock.now += 5_000
        async with setting.running(target.url):
            await setting.done()

    first, second = play(work).requests
    assert (first.key, first.body) == (second.key, second.body)


def test_whatever_a_way_to_a_target_does_the_daemon_lives():
    """An error that nobody thought of is a failed attempt."""

    class Broken:
        async def carry(self, order, *, doubtful, within_s):  # noqa: ARG002
            raise ZeroDivisionError(SECRET)

    @asynccontextmanager
    async def way(_epoch):
        yield Broken()

    setting = scene(Decisions().make(), open=way)

    async def main() -> None:
        async with setting.running("http://127.0.0.1:9/"):
            await until(lambda: setting.board.remarks)
            setting.clock.now += 60_000
            await setting.done()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert "failed: ZeroDivisionError" in setting.outbox.refused[0][2]
    assert SECRET not in setting.outbox.refused[0][2]


def test_a_wish_to_be_left_alone_is_kept():
    """Nobody asks before Retry-After is over, also not for the next order."""
    entries = Decisions().some(2)
    setting = scene(*entries)
    answers = iter([Reply(429, headers={"Retry-After": "1"})])
    first, *rest = once(setting, lambda _: next(answers, Reply())).requests
    assert len(rest) == 2
    assert rest[0].at - first.at >= 1.0


def test_the_place_of_a_target_shows_no_more_than_host_and_port():
    """Whatever its address holds."""
    assert WireSettings(url="https://x.org/a/b?c=d").place == "https://x.org"
    assert WireSettings(url="http://[::1]:80/a").place == "http://[::1]:80"


def test_requests_are_seen_whole():
    """The receiver of these tests reads what a script is asked about."""
    seen: list[Request] = []
    once(scene(Decisions().make()), lambda r: seen.append(r) or Reply())
    assert seen[0].json["kind"] == "enter"
