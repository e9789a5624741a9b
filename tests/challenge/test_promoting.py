"""A promotion changes what it must in a config.toml, and not a byte beside it."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.challenge.promoting import PromotionError, promote, put_in_place, read

# --- the text

WORDS = st.text("abz/.-_ äé\\\"'#=[]{}", min_size=1, max_size=12)
SPACE = st.sampled_from(["", " ", "  "])
COMMENT = st.sampled_from(["", "  # why", "\t# \"quoted\" = 'yes' [x]", " # challenger = 'no'"])
POLICY = st.dictionaries(
    st.sampled_from(["threshold", "regime_gate", "valid_bars", "regime"]),
    st.sampled_from([0.5, 0.625, True, 7, "notebook", 'say "x"']),
    max_size=3,
)
FORMS = ["inline", "table", "dotted"]


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


@st.composite
def strings(draw: st.DrawFn, value: str) -> str:
    """Write a string in one of TOML's ways."""
    ways = [toml(value)]
    if "'" not in value:
        ways += [f"'{value}'", f"'''{value}'''"]
    return draw(st.sampled_from(ways))


@st.composite
def parts(draw: st.DrawFn) -> tuple[str, bool]:
    """Write one [[streams]] part in some way; and whether it has a challenger."""
    keys = {
        "exchange": '"binance"', "symbols": '["BTCUSDT"]', "interval": '"1h"',
        "bundle": draw(strings(draw(WORDS))), "any_symbol": "true",
    }  # fmt: skip
    tables: list[str] = []
    challenger = draw(st.booleans())
    if challenger:
        keys["challenger"] = draw(strings(draw(WORDS)))
    own = challenger and draw(st.booleans())
    for name in ["policy"] * draw(st.booleans()) + ["challenger_policy"] * own:
        values, form = draw(POLICY), draw(st.sampled_from(FORMS))
        told = {key: toml(value) for key, value in values.items()}
        if form == "inline" or not values:
            keys[name] = "{ " + ", ".join(f"{key} = {value}" for key, value in told.items()) + " }"
        elif form == "dotted":
            keys |= {f"{name}.{key}": value for key, value in told.items()}
        else:
            lines = [f"{key} = {value}{draw(COMMENT)}" for key, value in told.items()]
            tables += [f"[streams.{name}]", *lines, *draw(st.sampled_from([[], [""]]))]
    order = draw(st.permutations(list(keys)))
    lines = [f"[[streams]]{draw(COMMENT)}"]
    for key in order:
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["", "# a word", "   # indented"])))
        lines.append(f"{key}{draw(SPACE)}={draw(SPACE)}{keys[key]}{draw(COMMENT)}")
    return "\n".join(lines + tables), challenger


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[int]]:
    """Write a configuration, and which parts to promote."""
    made = draw(st.lists(parts(), min_size=1, max_size=4))
    able = [at for at, (_, challenger) in enumerate(made) if challenger]
    wanted = draw(st.lists(st.sampled_from(able), unique=True)) if able else []
    head = draw(st.sampled_from(["", "# all of it\n\n", '[state]\npath = "state"   # here\n']))
    tail = draw(st.sampled_from(["", "\n", "\n\n# the end\n", '\n[log]\nlevel = "info" # quiet\n']))
    text = head + "\n\n".join(part for part, _ in made) + tail
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    return draw(st.sampled_from(["", "\ufeff"])) + text, wanted


def meant(text: str, indices: list[int]) -> dict[str, Any]:
    wanted = tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    for at in indices:
        part = wanted["streams"][at]
        part["bundle"] = part.pop("challenger")
        if "challenger_policy" in part:
            part["policy"] = part.pop("challenger_policy")
    return wanted


def is_about(line: str) -> bool:
    """Whether a line may change: it has one of the keys, or stands in a policy's table."""
    key = line.lstrip("\ufeff").split("=")[0].strip().split(".")[0]
    keys = {"bundle", "challenger", "challenger_policy", "policy", "[streams", ""}
    return key in keys | {"threshold", "regime_gate", "valid_bars", "regime"}


@settings(max_examples=300, deadline=None)
@given(files())
def test_what_comes_out_says_what_is_meant_and_leaves_the_rest(made: tuple[str, list[int]]):
    """The challenger's bundle and policy are the champion's; other lines stay, to the byte.

    Whatever way the file is written in: inline, dotted or with tables, quoted this way or that.
    """
    text, indices = made
    after = promote(text, indices)
    assert tomllib.loads(after.removeprefix("\ufeff").replace("\r\n", "\n")) == meant(text, indices)
    kept = [line for line in text.split("\n") if not is_about(line)]
    assert [line for line in after.split("\n") if not is_about(line)] == kept
    assert after.startswith("\ufeff") == text.startswith("\ufeff")
    if not indices:
        assert after == text


def test_a_comment_behind_the_challengers_policy_stays():
    """It is about what follows, be that the end."""
    policy = "[streams.challenger_policy]\nthreshold = 0.5\n\n# the end\n"
    after = promote('[[streams]]\nbundle = "a"\nchallenger = "b"\n' + policy, [0])
    wanted = '[[streams]]\nbundle = "b"\npolicy = {threshold = 0.5}\n\n# the end\n'
    assert after == wanted
    inline = "challenger_policy = { threshold = 0.5 }\n"
    policy = "[streams.policy]\nthreshold = 0.7\n\n# the end\n"
    assert promote('[[streams]]\nbundle = "a"\nchallenger = "b"\n' + inline + policy, [0]) == wanted


def test_the_bundles_comment_stays_and_the_challengers_goes():
    """What stood beside the champion's bundle stands beside the new one."""
    before = """\
[[streams]]  # the only one
bundle = "old"     # made in May
challenger = "new" # on trial
policy = { threshold = 0.6 }

# afterwards
[log]
"""
    assert (
        promote(before, [0])
        == """\
[[streams]]  # the only one
bundle = "new"     # made in May
policy = { threshold = 0.6 }

# afterwards
[log]
"""
    )


def test_streams_written_in_one_line_can_be_promoted():
    """A configuration may be an array of inline tables."""
    before = 'streams = [{ bundle = "a", challenger = "b", symbols = ["X"] }]  # all\n'
    after = promote(before, [0])
    assert tomllib.loads(after) == {"streams": [{"bundle": "b", "symbols": ["X"]}]}
    assert "# all" in after


# --- the file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def no_check(_: Path) -> None:
    return


def test_the_file_is_replaced_and_the_old_one_kept(file: Path):
    """With the same rights; each promotion keeps its own."""
    first = put_in_place(file, b"old", "new", no_check)
    second = put_in_place(file, b"new", "newer", no_check)
    assert [read(path) for path in (file, first, second)] == [b"newer", b"old", b"new"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, first, second)} == {0o640}
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "config.toml", "config.toml.before-1", "config.toml.before-2",
    ]  # fmt: skip


def test_a_file_that_was_changed_meanwhile_is_left_alone(file: Path):
    """Neither what is there nor what is beside it changes."""
    with pytest.raises(PromotionError, match="was changed meanwhile"):
        put_in_place(file, b"older", "new", no_check)
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]
    assert read(file) == b"old"

    def change(_: Path) -> None:
        file.write_bytes(b"by another hand")

    with pytest.raises(PromotionError, match="was changed meanwhile"):
        put_in_place(file, b"old", "new", change)
    assert read(file) == b"by another hand"
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_what_does_not_pass_the_check_never_takes_the_place(file: Path):
    """The check sees the whole new file, beside the old one, so that its paths mean the same."""
    seen: list[tuple[Path, bytes]] = []

    def refuse(new: Path) -> None:
        seen.append((new.parent, read(new)))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        put_in_place(file, b"old", "new", refuse)
    assert seen == [(file.parent, b"new")]
    assert read(file) == b"old"
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_a_link_stays_a_link(file: Path, tmp_path: Path):
    """What it leads to is replaced, where that is."""
    link = tmp_path / "elsewhere" / "link.toml"
    link.parent.mkdir()
    link.symlink_to(file)
    kept = put_in_place(link, b"old", "new", no_check)
    assert os.path.islink(link)  # noqa: PTH114 - what is asked
    assert read(file) == b"new"
    assert kept.parent == file.parent
