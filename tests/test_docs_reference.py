"""Every command line and every piece of configuration in the documents is one that there is."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.main import get_command

from candled.cli import app
from candled.cli.configured import docstrings, tables
from candled.cli.reference import pages
from candled.cli.usage import explain_usage
from candled.config.tables import Config

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Blocks of TOML that are no configuration of the daemon's, by a key at their top.
OTHER_TOML = {"fault"}
SPAN = re.compile(r"`candled( [^`]+)`")
LINE = re.compile(r"^(?:\s*\$ |    |)(?:uvx )?candled ((?:[a-z-]).*)$")


def code(text: str) -> Iterator[str]:
    """Yield the lines of code blocks, fenced or indented; a continued line is one."""
    fenced, before = False, ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            continue
        if not fenced and not line.startswith("    "):
            before = ""
            continue
        if line.rstrip().endswith("\\"):
            before += line.rstrip()[:-1]
            continue
        yield before + line
        before = ""


def commands(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield what follows the program's name, and whether it is a whole command line."""
    text = file.read_text()
    for line in code(text):
        if found := LINE.match(line):
            yield found[1], True
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for found in SPAN.finditer(outside):
        yield " ".join(found[1].split()), False


def words_of(line: str) -> list[str]:
    """Return a command's words, without what a shell or a reader adds."""
    plain = re.split(r"\s+#|\s*[|;]\s|\s&(?:\s|$)|\s>\s?", line)[0]
    return shlex.split(plain)


@cache
def root() -> Any:
    return get_command(app)


def problem(words: list[str], *, whole: bool) -> str | None:
    """Return what is wrong with a command line, or with a part of one."""
    command, names = root(), ["candled"]
    while words and words[0] in getattr(command, "commands", {}):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    if hasattr(command, "commands") and words and not words[0].startswith("-"):
        return f"no command {words[0]} of {' '.join(names)}"
    known = {name for param in command.params for name in getattr(param, "opts", ())}
    known |= {name for param in command.params for name in getattr(param, "secondary_opts", ())}
    known |= {"--help"}
    for word in words:
        if word.startswith("-") and word.split("=")[0] not in known and not _is_number(word):
            return f"no option {word} of {' '.join(names)}"
    sketch = any(set(word) & set("[]{}") or "..." in word for word in words)
    if not whole or sketch or "--help" in words or hasattr(command, "commands"):
        return None
    try:
        command.make_context(" ".join(names), list(words))
    except Exception as error:  # noqa: BLE001 - typer's own have no public name
        return explain_usage(error) or repr(error)
    return None


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-\d+(\.\d+)?", word) is not None


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_line_parses(file: Path):
    """The command and all its options exist, and where it is a whole line its values fit."""
    wrong = {
        line: said
        for line, whole in commands(file)
        if (said := problem(words_of(line), whole=whole))
    }
    assert wrong == {}


def test_the_reader_of_documents_finds_and_refuses():
    """It looks at many lines, and at each kind of mistake."""
    found = [line for file in DOCUMENTS for line, _ in commands(file)]
    assert len(found) > 60
    assert problem(["run", "--config", "x"], whole=True) is None
    assert problem(["runn"], whole=True)
    assert problem(["run", "--confg", "x"], whole=False)
    assert problem(["model", "nope"], whole=False)
    assert problem(["train", "--candles", "x"], whole=True)  # incomplete
    assert problem(["train", "--candles", "x"], whole=False) is None
    assert problem(["train", "--candles", "x", "..."], whole=True) is None
    assert problem(["simulate", "--port", "x"], whole=True)
    assert list(code("a\n    candled run\n```sh\ncandled \\\n  check\n```\nb")) == [
        "    candled run", "candled   check",
    ]  # fmt: skip
    assert words_of("run --config x   # until then") == ["run", "--config", "x"]
    assert words_of("log --json | jq .id") == ["log", "--json"]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_within_the_documents_leads_somewhere(file: Path):
    """To a file that is there."""
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", file.read_text())
    assert [target for target in targets if not (file.parent / target).exists()] == []


# --- configuration


def blocks(file: Path) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL)


def misfits(text: str) -> list[str]:
    """Return what of a piece of configuration cannot be; what is missing may stand elsewhere."""
    shown = re.sub(r"^# ?(?=[\w.\[]+ ?(?:= |\]))", "", text, flags=re.MULTILINE)
    content: dict[str, Any] = tomllib.loads(shown)
    if OTHER_TOML & set(content):
        return []
    try:
        Config.model_validate(content)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors()
            if one["type"] != "missing"
        ]
    return []


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_piece_of_configuration_is_valid(file: Path):
    """Each TOML block of a document has keys that exist and values that fit, optional ones too."""
    assert [(text, found) for text in blocks(file) if (found := misfits(text))] == []


def test_a_wrong_piece_of_configuration_is_found():
    """A key that is not there, a value that does not fit, and one that is commented out."""
    assert misfits("[mqtt]\nurll = 'x'")
    assert misfits("[mqtt]\nkeepalive = 1")
    assert misfits("[mqtt]\n# keepalive = 1")
    assert misfits("[[streams]]\ninterval = '7m'")
    assert not misfits("[[streams]]\ninterval = '1h'")
    assert sum(len(blocks(file)) for file in DOCUMENTS) > 5


# --- the references


@pytest.mark.parametrize("name", ["commands.md", "configuration.md"])
def test_the_references_are_current(name: str):
    """`make reference` would change nothing."""
    assert (ROOT / "docs" / name).read_text() == pages()[name], "run: make reference"


def test_every_key_has_a_type_and_a_meaning():
    """The reference has all keys, in words that say something."""
    for table in tables():
        assert table.meaning, table.name
        assert table.keys
        for key in table.keys:
            assert key.meaning, f"{table.name} {key.name}: write what it means below it"
            assert key.meaning.endswith("."), f"{table.name} {key.name}"
            assert not re.search(r"[<>]|typing|Annotated|class", key.type), (key.name, key.type)


def test_the_commented_file_and_the_reference_agree():
    """config.toml and the page have the same keys, and the same defaults."""
    text = re.sub(r"^# (?=\w+ = |\[)", "", (ROOT / "config.toml").read_text(), flags=re.MULTILINE)
    shown, active = tomllib.loads(text), tomllib.loads((ROOT / "config.toml").read_text())
    for table in tables():
        name = re.findall(r"\w+", table.name)[0]
        part = _part(shown[name], table.name)
        assert set(part) == {key.name for key in table.keys}, table.name
        set_here = _part(active[name], table.name) if name in active else {}
        for key in table.keys:
            if key.name in set_here and key.default not in ("required", "absent"):
                assert _equal(set_here[key.name], key.default), (table.name, key)


def _part(found: Any, name: str) -> dict[str, Any]:
    if name.startswith("[["):
        return found[0]
    return next(iter(found.values())) if name.endswith(".NAME]") else found


def _equal(value: Any, default: str) -> bool:
    return json.loads(default.strip("`")) == value


def test_docstrings_are_those_below_their_keys():
    """One that follows something else, or nothing, belongs to no key."""
    source = 'class A:\n    x: int\n    """Of\n    x."""\n    y: int\n    z = 1\n    """Of z?"""\n'
    assert docstrings(source) == {("A", "x"): "Of x."}


def test_the_schema_has_no_table_that_the_reference_lacks():
    """Tables within tables are told as such, and have a table of their own."""
    told = {re.findall(r"\w+", table.name)[0] for table in tables()}
    assert told == set(Config.model_fields)
