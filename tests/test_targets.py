"""Webhooks and alerts as they are configured: what is wrong is told, what is right is tried."""

from __future__ import annotations

import asyncio
import ssl
import textwrap
from pathlib import Path

import pytest

from candled.config import Config, ConfigError, load_config
from candled.targetcheck import check_targets
from candled.targets import alert_tell, require_targets, webhook_sinks, webhook_targets
from fakes import EVENING_MS, FixedClock
from hooks import Reply, certificate, receiver

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports

LEAST = """
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "models/BTCUSDT_1h"
"""


def load(folder: Path, text: str) -> Config:
    for name in ("a", "b"):
        (folder / name).write_text(f"secret-{name}\n")
    (folder / "config.toml").write_text(textwrap.dedent(text) + LEAST)
    return load_config(folder / "config.toml")


def problems(folder: Path, text: str) -> list[str]:
    """Return what is wrong with one webhook."""
    config = load(folder, f"[[webhooks]]\nname = 'bot'\n{textwrap.dedent(text)}")
    found = webhook_targets(config)[1]
    if found:
        with pytest.raises(ConfigError):
            require_targets(config)
        with pytest.raises(ConfigError):
            webhook_sinks(config, lambda _: FixedClock(EVENING_MS))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "url = 'https://x.org/hook'",
        "url = 'http://127.0.0.1:8080/hook'",
        "url = 'http://localhost:8080/hook'",
        "url = 'http://[::1]/hook'",
        "url = 'http://10.0.0.7/hook'\nallow_http = true",
        "url = 'https://x.org'\npreset = 'tradingview'\nsecrets = {token = 'a', bot_uuid = 'b'}",
        "url = 'http://127.0.0.1:8080'\npreset = 'freqtrade'\nusername = 'u'\npassword_file = 'a'",
        """
        url = 'https://x.org'
        template = '{"a": {{price}}, "s": "{{secret.t}}"}'
        secrets = {t = 'a'}
        headers = {X-Token = 'b'}
        streams = ['binance/*/1h']
        """,
    ],
)
def test_what_can_be_used_is_used(tmp_path, text):
    """Each becomes a sink with its name."""
    assert problems(tmp_path, text) == []
    config = load(tmp_path, f"[[webhooks]]\nname = 'bot'\n{textwrap.dedent(text)}")
    (sink,) = webhook_sinks(config, lambda _: FixedClock(EVENING_MS))
    assert sink.name == "webhook:bot"


HTTPS = "url = 'https://x.org'\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "webhooks.0.url: is required, or url_file; one of the two"),
        (HTTPS + "url_file = 'a'", "webhooks.0.url: is required, or url_file; one of the two"),
        ("url_file = 'a'", "webhooks.0.url_file: must look like https://host/path"),
        ("url_file = 'none'", "webhooks.0.url_file: cannot be read: no such file"),
        (
            "url = 'http://10.0.0.7/x'",
            "webhooks.0.url: http to 10.0.0.7 is open to all between; use https, or allow_http",
        ),
        (HTTPS + "streams = ['okx/*']", "webhooks.0.streams: 'okx/*' matches no configured"),
        (HTTPS + "template = '{{sid}}'", "{{sid}}; did you mean {{side}}?"),
        (HTTPS + "template = '{\"a\": }'", "webhooks.0.template: begins like JSON and is none"),
        (HTTPS + "template = '{{secret.x}}'", "webhooks.0.template: unknown placeholder {{secret"),
        (HTTPS + "template = 'x'\npreset = 'json'", "preset 'json' has its own; remove one"),
        (HTTPS + "exit_template = 'x'", "webhooks.0.exit_template: needs a template for entries"),
        (HTTPS + "preset = 'tradingview'\nsecrets = {token = 'a'}", "webhooks.0.secrets.bot_uuid:"),
        (HTTPS + "username = 'u'", "username and password_file go together"),
        (HTTPS + "headers = {Host = 'a'}", "webhooks.0.headers.Host: cannot be set"),
        (HTTPS + "headers = {X = 'two'}", "webhooks.0.headers.X: its file must hold one line"),
        (HTTPS + "ca_file = 'a'", "webhooks.0.ca_file: "),
        (HTTPS + "hmac_key_file = 'none'", "webhooks.0.hmac_key_file: cannot be read"),
        (HTTPS + "preset = 'freqtrade'", "webhooks.0.username: is required by preset 'freqtrade'"),
    ],
)
def test_what_is_wrong_is_told_with_its_key_and_the_mend(tmp_path, text, expected):
    """Before anything runs, and without showing a secret."""
    (tmp_path / "two").write_text("one\ntwo\n")
    found = problems(tmp_path, text)
    assert any(expected in problem for problem in found), found
    assert "secret-a" not in str(found)


def test_everything_is_told_at_once(tmp_path):
    """Of all webhooks and of the alerts."""
    config = load(
        tmp_path,
        """
        [[webhooks]]
        name = "bot"
        url = "http://10.0.0.7/"
        template = "{{sid}}"
        [[webhooks]]
        name = "bot"
        url = "https://x.org"
        streams = ["nothing"]
        [alerts]
        urls_file = "a"
        """,
    )
    with pytest.raises(ConfigError) as caught:
        require_targets(config)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "webhooks.1.name", "webhooks.0.url", "webhooks.0.template", "webhooks.1.streams",
        "alerts.urls_file",
    ]  # fmt: skip
    assert "secret-a" not in str(caught.value)


def test_a_symbol_without_a_pair_is_told_unless_it_is_given_one(tmp_path):
    """No order may go to a pair that was guessed."""
    bot = "url = 'http://127.0.0.1:1'\npreset = 'freqtrade'\nusername = 'u'\npassword_file = 'a'\n"
    text = LEAST.replace("BTCUSDT", "XYZ")
    (tmp_path / "a").write_text("x")
    for pairs, expected in (("", 1), ("pairs = {XYZ = 'XYZ/USD'}", 0)):
        (tmp_path / "config.toml").write_text(f"[[webhooks]]\nname='b'\n{bot}{pairs}\n{text}")
        found = webhook_targets(load_config(tmp_path / "config.toml"))[1]
        assert len(found) == expected, found
        assert all("nobody knows the pair of XYZ" in problem for problem in found)


@pytest.mark.parametrize("url", ["https://u:p@x.org", "ftp://x.org", "https://x.org/#a", "x.org"])
def test_an_address_that_is_none_or_holds_a_password_is_refused(tmp_path, url):
    """At once, like any other value of the wrong form."""
    with pytest.raises(ConfigError, match=r"webhooks\.0\.url: must"):
        load(tmp_path, f"[[webhooks]]\nname = 'b'\nurl = '{url}'\n")


def test_alerts_are_off_without_urls_and_on_with_them(tmp_path):
    """And a missing file is told."""
    assert alert_tell(load(tmp_path, "")) == (None, [])
    (tmp_path / "urls").write_text("json://localhost/x\n")
    tell, found = alert_tell(load(tmp_path, "[alerts]\nurls_file = 'urls'"))
    assert tell is not None
    assert found == []
    (problem,) = alert_tell(load(tmp_path, "[alerts]\nurls_file = 'none'"))[1]
    assert "alerts.urls_file: cannot be read" in problem


def test_a_missing_extra_is_told_with_what_to_install(tmp_path, monkeypatch):
    """Not when it is too late."""
    import sys  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "apprise", None)
    (tmp_path / "urls").write_text("json://localhost/x\n")
    (problem,) = alert_tell(load(tmp_path, "[alerts]\nurls_file = 'urls'"))[1]
    assert "pip install candled[alerts]" in problem


# --- what check tries


def tried(folder: Path, text: str, **server) -> tuple[list[tuple[str, int | None]], list]:
    """Check a configuration against a target; return what was found, and what reached it."""

    async def main():
        async with receiver(**server) as target:
            config = load(folder, text.replace("PORT", str(target.port)))
            found = await check_targets(config)
            return [(f.text, f.code) for f in found], target.requests

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_check_connects_and_sends_nothing(tmp_path):
    """A webhook cannot be tried without being used, so it is not."""
    text = "[[webhooks]]\nname = 'b'\nurl = 'http://127.0.0.1:PORT/hook/secret'\n"
    found, requests = tried(tmp_path, text)
    assert len(found) == 1
    assert "can be reached; no order was sent" in found[0][0]
    assert found[0][1] is None
    assert "secret" not in found[0][0]
    assert requests == []


def test_check_looks_at_the_certificate(tmp_path):
    """The one that orders would meet."""
    cert, key = certificate(tmp_path, "target")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    text = "[[webhooks]]\nname = 'b'\nurl = 'https://127.0.0.1:PORT/'\n"
    found, _ = tried(tmp_path, text, tls=tls)
    assert "CERTIFICATE_VERIFY_FAILED" in found[0][0]
    assert found[0][1] == 75
    found, _ = tried(tmp_path, text + "ca_file = 'target.pem'", tls=tls)
    assert found[0][1] is None, found


def test_check_names_a_target_that_is_away(tmp_path):
    """By host and port."""
    found, _ = tried(tmp_path, "[[webhooks]]\nname = 'b'\nurl = 'http://127.0.0.1:9/x'\n")
    assert found[0][0].startswith("http://127.0.0.1:9: ")
    assert found[0][1] == 75


BOT = """[[webhooks]]
name = 'b'
url = 'http://127.0.0.1:PORT'
preset = 'freqtrade'
username = 'u'
password_file = 'a'
"""


@pytest.mark.parametrize(
    ("said", "expected", "code"),
    [
        (
            '{"state":"running","force_entry_enable":true,"trading_mode":"spot"}',
            "is freqtrade",
            None,
        ),
        ('{"state":"running","force_entry_enable":false}', "set force_entry_enable = true", 78),
        ('{"trading_mode":"futures"}', 'the bot trades futures; set market = "futures"', 78),
        ('{"short_allowed":false}', 'the bot cannot go short; set sides = ["long"]', 78),
        ("<html>", "answered 200 to show_config", 75),
    ],
)
def test_check_asks_freqtrade_for_its_configuration(tmp_path, said, expected, code):
    """A question that changes nothing, and tells what would be refused later."""
    found, requests = tried(tmp_path, BOT, script=lambda _: Reply(200, said.encode()))
    assert expected in found[0][0]
    assert found[0][1] == code
    assert [(r.method, r.target) for r in requests] == [("GET", "/api/v1/show_config")]


def test_check_names_a_wrong_password_of_freqtrade(tmp_path):
    """Without showing it."""
    found, _ = tried(tmp_path, BOT, script=lambda _: Reply(401, b'{"detail":"Unauthorized"}'))
    assert "answered 401" in found[0][0]
    assert found[0][1] == 78
    assert "secret-a" not in found[0][0]
