"""Wrong command lines: one line that says what is wrong, where the help is, and the right code."""

from __future__ import annotations

import ast
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

import candled.cli
from candled.__main__ import main
from candled.cli import app
from candled.cli.options import parse_when
from candled.cli.usage import explain_usage

FOLDER = Path(candled.cli.__file__).parent
MILLION = 1_000_000


def commands(group, path: str = ""):
    """Yield the path of every command that does something, and the command."""
    for name, command in group.commands.items():
        here = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, here)
        yield here, command


COMMANDS = dict(commands(get_command(app)))


def said(capsys, monkeypatch, line: str) -> tuple[object, str, str]:
    """Run a command line within this process; return code, output and errors."""
    monkeypatch.setattr("sys.argv", ["candled", *shlex.split(line)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


WRONG = [
    "runn",
    "--nope",
    "run --config",
    "run extra",
    "run --config a --config",
    "tail --since -1",
    "log --limit -1",
    "log --since yesterday",
    "log --since 5",
    "log --side up",
    "log --until 2024-13-01",
    "status --watch=maybe",
    "replay --speed 0",
    "replay --speed fast",
    "replay",
    "verify",
    "train",
    "model",
    "model nope",
    "keys make",
    "candles check",
    "bench --streams x",
    "simulate --port x",
    "demo --bars 0",
    "fetch --exchange x",
    "check \x1b[2J",
    "log --bogus\x1b[2J",
    "log --side 'long\nerror: forged'",
    "candles check 'a\nb' 'c\nd'",
]


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage_is_one_line_with_code_2(capsys, monkeypatch, line: str):
    """Nothing on standard output; nothing that moves a terminal's cursor; the help is named."""
    code, out, err = said(capsys, monkeypatch, line)
    assert (code, out) == (2, "")
    if line in COMMANDS and hasattr(COMMANDS[line], "commands"):  # its help is what they want
        assert err.startswith("Usage: ")
        return
    assert re.fullmatch(r"error: .+; see \S.* --help\n", err), err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert ".; see" not in err


def test_a_long_complaint_is_still_one_line():
    """Whatever typer or a parser of ours says in several lines; nothing else is wrong usage."""
    said = explain_usage(typer.BadParameter("this\nand   that."))
    assert said == "error: Invalid value: this and that; see candled --help"
    assert explain_usage(ValueError("x")) is None


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_refuses_an_option_that_it_has_not(capsys, monkeypatch, name: str):
    """By name, with code 2, whatever else is missing."""
    code, out, err = said(capsys, monkeypatch, f"{name} --no-such-option")
    assert (code, out) == (2, "")
    assert "--no-such-option" in err


def test_version_and_help_end_well(capsys, monkeypatch):
    """`--version` is one line; the help lists every command, each in the panel of its purpose."""
    code, out, err = said(capsys, monkeypatch, "--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"candled \d+\.\d+\.\d+\S*\n", out)
    code, out, err = said(capsys, monkeypatch, "--help")
    assert (code, err) == (0, "")
    heads = re.findall(r"^(\w+):$", out, re.MULTILINE)
    assert heads == ["Options", "Run", "Look", "Learn", "Prove", "Models"]
    listed = re.findall(r"^  ([a-z]+)  ", out.partition("\nRun:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(get_command(app).commands)


def test_no_option_is_declared_twice():
    """What two commands share is one alias in `options`: their texts cannot drift apart."""
    declared = Counter(
        ast.unparse(node)
        for file in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated"
    )
    assert len(declared) > 40
    assert [text for text, count in declared.items() if count > 1] == []


def test_the_same_name_means_the_same_in_every_command():
    """`--json` is a switch everywhere, `--config` a file with one default, `-c` is `--config`."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for command in COMMANDS.values():
        for option in command.params:
            for name in getattr(option, "opts", ()):
                kind = (str(getattr(option, "is_flag", None)), str(option.default))
                seen.setdefault(name, set()).add(kind)
    for name in ("--json", "--config", "-c"):
        assert len(seen.get(name, {0})) == 1, seen[name]


@given(st.integers(1, 10_000), st.sampled_from("smhd"))
def test_a_time_ago_is_counted_from_now(count: int, unit: str):
    """Seconds, minutes, hours and days; between them the order of the numbers is that of time."""
    length = {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit] * 1000
    one, other = parse_when(f"{count}{unit}"), parse_when(f"{count + 1}{unit}")
    assert abs(one - other - length) < 60_000
    assert parse_when("2024-01-02T03:04") == 1_704_164_640_000


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2h ", "-2h", "2w", "2.5h", "\u0661h", "1704164640"]
)
def test_what_is_no_time_is_refused(text: str):
    """Nothing is guessed; only digits and one unit are ago."""
    if text == "1704164640":  # seconds since 1970 are a moment in every candle file
        assert parse_when(text) == 1_704_164_640_000
        return
    with pytest.raises(typer.BadParameter):
        parse_when(text)


def test_every_example_in_a_help_text_parses():
    """What a help shows can be typed: its command, its options and their values fit."""
    shown = []
    for name, command in COMMANDS.items():
        text = " ".join((command.help or "").split())
        for line in re.findall(r"Example: candled (.+)$", text):
            shown.append(line)
            words = shlex.split(line)
            mine = [words.pop(0) for _ in name.split()]
            assert " ".join(mine) == name
            command.make_context(name, words)
    assert len(shown) >= 10
