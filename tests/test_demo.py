"""The demo as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import httpx
import msgspec

from candled_adapters.web import shapes
from candled_adapters.web.files import chart_script

PLAIN = {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
PLACE = re.compile(r"(?:live page|state) (http://127\.0\.0\.1:\d+/)")


def test_a_newcomer_sees_the_page_while_bars_come_and_until_the_end_is_asked_for():
    """The address is said at once, it answers while all stays up, and Ctrl+C ends it cleanly."""
    words = ["demo", "--bars", "40", "--symbols", "2", "--speed", "40", "--linger", "60"]
    with subprocess.Popen(
        [sys.executable, "-m", "candled", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "PYTHONUNBUFFERED": "1",
        },
    ) as child:
        try:
            said, address = [], ""
            while not (said and said[-1].startswith("all bars played")):
                line = child.stdout.readline()
                assert line, said
                said.append(line)
                if found := PLACE.search(line):
                    address = found[1]
            with httpx.Client(base_url=address, trust_env=False) as web:
                shown = msgspec.json.decode(web.get("/api/overview").content, type=shapes.Overview)
                page = web.get("/lightweight-charts.js").status_code
            child.send_signal(signal.SIGINT)
            rest, _ = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 0, rest
    assert page == (200 if chart_script() else 404)
    assert [line.stream for line in shown.lines] == ["demo/DEMO1USDT/1h", "demo/DEMO2USDT/1h"]
    assert all(line.decided and len(line.closes) == 60 for line in shown.lines)
    assert any(line.signal for line in shown.lines)
    assert len(shown.cards) == 1
    table = dict(re.findall(r"│ (\S.*?) +│ (\S.*?) +│", rest))
    assert (table["result"], table["decisions"]) == ("whole", "80")
    assert table["page"].startswith(address)
    assert 0.5 < float(table["first signal s"]) < 200
