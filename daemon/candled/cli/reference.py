"""Writes the references of commands and configuration: ``python -m candled.cli.reference docs``.

Both come from what the program itself knows: the options that it parses, the tables that it
validates, and the words beside them. A test holds the pages to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from typer.core import TyperGroup
from typer.main import get_command

from candled.cli import app
from candled.cli.configured import tables

_WIDTH: Final = 2_000  # wider than any help
#: How typer calls what an option takes, where that is not said otherwise.
_KIND: Final = re.compile(r"<(int|float|str)(?: range)?>")
_KINDS: Final = {"int": "N", "float": "X"}
_MADE: Final = "Made by `make reference` from {source}; change that, not this page."


def main(folder: Path) -> None:
    """Write both pages into `folder`."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of each page by its file's name."""
    return {
        "commands.md": "\n".join(_commands()) + "\n",
        "configuration.md": "\n".join(_configuration()) + "\n",
    }


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield _MADE.format(source="the options that the program parses")
    yield "What they are for, with examples: [operating.md](operating.md).\n"
    group = get_command(app)
    yield from _command(group, "candled")


def _command(command: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - typer's own
    context = command.context_class(command, info_name=path, terminal_width=_WIDTH)
    yield f"## {path}\n"
    yield from _paragraphs(command.help or "")
    records = [param.get_help_record(context) for param in command.get_params(context)]
    rows = [record for record in records if record and record[0] != "--help"]
    if rows:
        yield "| option | meaning |"
        yield "|---|---|"
        yield from (f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows)
        yield ""
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from _command(below, f"{path} {name}")


def _paragraphs(text: str) -> Iterator[str]:
    for part in text.strip().split("\n\n"):
        words = " ".join(part.split())
        head, example, line = words.partition("Example: ")
        if example:
            words = f"{head}Example: `{line}`"
        if words:
            yield f"{words}\n"


def _cell(text: str) -> str:
    words = " ".join(text.split()).replace("|", "\\|")
    return _KIND.sub(lambda found: _KINDS.get(found[1], "TEXT"), words)


def _configuration() -> Iterator[str]:
    yield "# Configuration\n"
    yield _MADE.format(source="the tables that the program validates")
    yield "[config.toml](../config.toml) is the same as a commented file. Paths are relative to it;"
    yield "an unknown key is refused with the nearest known one, all problems are told at once.\n"
    for table in tables():
        yield f"## {table.name}\n"
        yield f"{table.meaning}\n"
        yield "| key | type | default | meaning |"
        yield "|---|---|---|---|"
        for key in table.keys:
            cells = (f"`{key.name}`", key.type, key.default, key.meaning)
            yield f"| {' | '.join(map(_cell, cells))} |"
        yield ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
