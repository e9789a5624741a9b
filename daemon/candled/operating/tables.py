"""Tables: drawn on a terminal, aligned lines in a pipe. Every cell is only text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from candled.core.text import visible

_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Row:
    """Cells of a table, and in which style they are drawn."""

    cells: tuple[str, ...]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table with a title; lines above it where there are any."""

    title: str
    columns: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    lines: Sequence[Row] = field(default_factory=tuple)
    """Rows of one cell."""
    kept: str = ""
    """Characters of cells that are drawn as they are: a line end, where cells are our own words."""


def drawn(sections: Sequence[Section]) -> RenderableType:
    """Return the sections as they look on a terminal. No text is read as markup."""
    parts: list[RenderableType] = []
    for section in sections:
        parts += [Text(visible(line.cells[0]), line.style) for line in section.lines]
        if section.rows:
            parts.append(_table(section))
    return Group(*parts)


def _table(section: Section) -> Table:
    table = Table(
        title=Text(section.title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    told = [at for at in range(len(section.columns)) if any(row.cells[at] for row in section.rows)]
    for at in told:  # a column that says nothing takes the place of one that does
        table.add_column(Text(section.columns[at]), overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(visible(row.cells[at], section.kept)) for at in told), style=row.style)
    return table


def plain(sections: Sequence[Section]) -> str:
    """Return the sections as lines: a title, a line of names, a line for each row."""
    return "\n".join(line for section in sections for line in _lines(section))


def _lines(section: Section) -> Iterator[str]:
    for line in section.lines:
        yield visible(line.cells[0])
    if not section.rows:
        return
    yield f"{section.title}:"
    cells = [section.columns, *(tuple(map(visible, row.cells)) for row in section.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for some in cells:
        padded = (cell.ljust(width) for cell, width in zip(some, widths, strict=True))
        yield _GAP + _GAP.join(padded).rstrip()


def on_terminal() -> bool:
    """Whether somebody looks at what is printed."""
    return sys.stdout.isatty()
