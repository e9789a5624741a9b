"""Pieces of a page that cannot be broken by what they say: text is escaped unless it is markup.

Knows HTML and nothing of what a report is about.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Cell = str | int
Figure = Mapping[str, Any]
"""``data`` and ``layout`` as plotly.js takes them; a colour ``@name`` is the page's own."""

_VOID: Final = frozenset({"br", "meta", "link", "hr"})


class Markup(str):
    """Text that is HTML already; everything else gets escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    about: str = ""
    """What it means, where the title does not say."""
    is_text: bool = False
    """Whether it holds words; numbers are set flush right."""


def element(tag: str, /, *children: str, **attributes: str | bool | None) -> Markup:
    """Return an element; ``class_`` is class, ``aria_label`` is aria-label, None is left out."""
    opened = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{opened}>")
    return Markup(f"<{tag}{opened}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Markup:
    """Return pieces one after the other."""
    return Markup("".join(one if isinstance(one, Markup) else html.escape(one) for one in children))


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, note: str = ""
) -> Markup:
    """Return a table whose first column names the rows; it scrolls on its own where it is wide."""
    head = [
        element(
            "th",
            column.title,
            scope="col",
            class_=None if column.is_text else "number",
            title=column.about or None,
        )
        for column in columns
    ]
    body = [_row(columns, row) for row in rows]
    made = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    told = [one for one in columns if one.about]
    notes = ". ".join(f"{one.title}: {one.about}" for one in told)
    text = " ".join(part for part in (f"{notes}." if notes else "", note) if part)
    return joined(
        (
            element("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption),
            element("p", text, class_="note") if text else Markup(""),
        )
    )


def details(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a long table that opens when asked to."""
    return element(
        "details", element("summary", f"{caption}: the table"), table(caption, columns, rows)
    )


def _row(columns: Sequence[Column], row: Sequence[str]) -> Markup:
    cells = [
        element(
            "td" if at else "th",
            cell,
            scope=None if at else "row",
            class_=None if column.is_text else "number",
        )
        for at, (column, cell) in enumerate(zip(columns, row, strict=True))
    ]
    return element("tr", *cells)


def figure(key: str, made: Figure, *, title: str, caption: str, tall: str = "") -> Markup:
    """Return a chart with its caption; `key` is unique on the page, `tall` a class of its height.

    The caption says in words what is to be seen, for who cannot see it as well.
    """
    return element(
        "figure",
        element(
            "div",
            id=key,
            class_=f"chart {tall}".strip(),
            role="img",
            aria_label=title,
            aria_describedby=f"{key}-caption",
        ),
        data(f"{key}-data", made),
        element("figcaption", element("strong", f"{title}. "), caption, id=f"{key}-caption"),
    )


def data(key: str, value: object) -> Markup:
    """Return JSON inside a script element, from which nothing can escape."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return element("script", Markup(text), type="application/json", id=key)


def section(key: str, title: str, *children: str) -> Markup:
    """Return a part of the page that can be linked to."""
    return element(
        "section",
        element("h3", title, id=key),
        *children,
        aria_labelledby=key,
    )


def paragraph(*children: str, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *children, class_=class_)
