"""The operator's page: its commands are run against a real daemon, its outputs are what they print.

Between two runs times, numbers and sides differ, so lines are compared with these left open.
``CANDLED_WRITE_DOCS=1 pytest tests/test_docs_operating.py`` writes the outputs anew.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from brokers import needs_mosquitto
from candled.config import load_config
from candled.operating.facts import Status, Verdict
from candled.operating.status import find_out
from operating.stage import ENV, PATIENCE_S, World, stage, until

PAGE = Path(__file__).parents[1] / "docs" / "operating.md"
BLOCK = re.compile(r"```sh\n(?P<command>[^\n]*)\n```\n```text\n(?P<said>.*?)```", re.DOTALL)
ALONE = re.compile(r"<!-- (.*?) -->")
WIDTH = 200
MORE = " ..."
#: What nobody can foresee of a line: why a signal may not be acted on, and how a stream's record
#: and drift are by then.
UNSURE = re.compile(r"(bar TIME:|^binance/\S+ (?:live|TIME)) (?!SIDE).*")


@dataclass(frozen=True)
class Example:
    """One command of the page."""

    told: tuple[str, ...]
    """What is said of it in comments, and of what happens before."""
    command: str
    said: str


def examples(text: str) -> Iterator[Example]:
    """Yield the commands in order, each with what is told since the one before."""
    at = 0
    for found in BLOCK.finditer(text):
        told = ALONE.findall(text[at : found.start("command")])
        yield Example(tuple(told), found["command"], found["said"])
        at = found.end()


def open_places(text: str) -> list[str]:
    """Return lines in which whatever differs between two runs is left open."""
    text = re.sub(r"(?<=\s)/\S*/state\b", "PATH", text)
    text = re.sub(r"\b[0-9a-f]{16,64}\b", "HEX", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "TIME", text)
    text = re.sub(r"[+-]?\d[\d.,]*(?:e[+-]\d+)?", "N", text)
    text = re.sub(r"\bN (?:ms|s|min|h|d|MB|GB)\b", "N u", text)
    text = re.sub(r"\b(?:long|short|flat|none)\b", "SIDE", text)
    text = re.sub(r"Ranging|Trending Up|Trending Down", "REGIME", text)
    text = re.sub(r",? ?(?:wick|gap|flat run|zero volume),", ",", text)
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]
    return [re.sub(UNSURE, r"\1 ...", line) for line in lines]


def broker_dies(world: World) -> None:
    world.broker.kill()
    until(lambda: "nobody listens there" in str(found_out(world).why), "the reason")


def broker_is_back(world: World) -> None:
    world.broker.start()
    becomes(world, Verdict.ONLINE)


HAPPENS: dict[str, Callable[[World], None]] = {
    "the broker is killed": broker_dies,
    "the broker is back": broker_is_back,
    "the daemon is killed": World.kill,
}


def becomes(world: World, verdict: Verdict) -> None:
    """Wait until the daemon says that it is so."""
    until(lambda: found_out(world).verdict is verdict, verdict.name)


def found_out(world: World) -> Status:
    return find_out(load_config(world.config))


def played(world: World, example: Example) -> tuple[int, str]:
    """Do what is told of a command, then run it as it stands; return its code and output."""
    wanted, more, signals = 0, "", None
    for told in example.told:
        if told in HAPPENS:
            HAPPENS[told](world)
        elif found := re.fullmatch(r"ends with (\d+)", told):
            wanted = int(found[1])
        elif found := re.fullmatch(r"at the simulator: (.*)", told):
            more = found[1]
        elif found := re.fullmatch(r"until (\d+) signals", told):
            signals = int(found[1])
        else:
            raise AssertionError(f"nobody knows what this is: {told}")
    url = f"mqtt://127.0.0.1:{world.broker.port}"
    words = shlex.split(example.command.replace("mqtt://127.0.0.1:1883", url) + " " + more)
    assert words.pop(0) == "candled"
    code, out = until_signals(world, words, signals) if signals else whole(world, words)
    assert code == wanted, (example.command, code, out)
    return code, at_home(world, out)


def at_home(world: World, out: str) -> str:
    """Return an output as it would be where the page's reader is."""
    places = {
        f"127.0.0.1:{world.broker.port}": "127.0.0.1:1883",
        f"127.0.0.1:{world.web_port}": "127.0.0.1:8780",
        world.rest_url.removeprefix("http://"): "127.0.0.1:8090",
        str(world.folder): "/srv/candled",
    }
    for here, there in places.items():
        out = out.replace(here, there)
    return out


def whole(world: World, words: list[str]) -> tuple[int, str]:
    code, out, err = world.run(*words)
    assert err == "", err
    return code, out


def until_signals(world: World, words: list[str], count: int) -> tuple[int, str]:
    """Run a command that does not end until it has shown so many signals, then end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "candled", *words], cwd=world.folder, env=ENV, text=True,
        stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None
            lines: list[str] = []
            while sum(" #" in line for line in lines) < count and (line := child.stdout.readline()):
                lines.append(line)
            child.send_signal(signal.SIGINT)
            return child.wait(PATIENCE_S), "".join(lines)
        finally:
            child.kill()


@needs_mosquitto
def test_the_pages_commands_say_what_the_page_shows(tmp_path: Path):
    """Each command ends as the page says, and every line that the page shows of it is printed."""
    text = PAGE.read_text()
    found = list(examples(text))
    assert len(found) >= 10
    with stage(tmp_path, bars_per_second=4) as world:
        world.until_decided(12)
        becomes(world, Verdict.ONLINE)
        outputs = [played(world, example)[1] for example in found]
    if os.environ.get("CANDLED_WRITE_DOCS"):
        PAGE.write_text(written(text, outputs))
        return
    for example, out in zip(found, outputs, strict=True):
        said = set(open_places(out))
        shown = open_places(example.said)
        assert shown, f"{example.command}: the page shows nothing"
        assert [line for line in shown if not is_in(line, said)] == [], (example.command, out)


def is_in(line: str, said: set[str]) -> bool:
    """Whether a line of the page is one that was said, or the beginning of one."""
    if not line.endswith(MORE):
        return line in said
    return any(one.startswith(line.removesuffix(MORE)) for one in said)


def written(text: str, outputs: list[str]) -> str:
    """Return the page with these outputs."""
    parts, at = [], 0
    for found, out in zip(BLOCK.finditer(text), outputs, strict=True):
        parts += [text[at : found.start("said")], cut(out)]
        at = found.end("said")
    return "".join([*parts, text[at:]])


def cut(out: str) -> str:
    """Return an output as a page shows it: no wider than a screen."""
    lines = (line if len(line) <= WIDTH else shortened(line) for line in out.splitlines())
    return "".join(f"{line}\n" for line in lines)


def shortened(line: str) -> str:
    """Return the beginning of a line up to the last comma that has room, and that there is more."""
    return line[: line.rindex(",", 0, WIDTH) + 1] + MORE


def test_what_differs_between_runs_is_left_open_and_nothing_else():
    """Two moments look alike; another word does not."""
    one = "2025-03-04T05:00:00Z  a/B/1h  long  #3  p(long)=0.71 of 0.42, Ranging, ws +0 ms"
    other = "2025-03-05T01:00:00Z  a/B/1h  short  #44  p(short)=0.5 of 0.42, Trending Up, ws +2 min"
    assert open_places(one) == open_places(other)
    assert open_places(one) != open_places(other.replace("ws", "rest"))
    assert open_places("state: /tmp/x/state, 3 GB") == open_places(
        "state: /srv/candled/state, 1 MB"
    )
    page = "<!-- a b -->\n```sh\ncandled x\n```\n```text\nout 1\n```\n"
    assert list(examples(page)) == [Example(("a b",), "candled x", "out 1\n")]
    assert written(page, ["new\n"]) == page.replace("out 1", "new")
    long = f"{'a, ' * 80}end"
    assert is_in(cut(long).strip(), {long})
    assert not is_in(cut(long).strip(), {long[1:]})
    assert not is_in("a", {"ab"})
