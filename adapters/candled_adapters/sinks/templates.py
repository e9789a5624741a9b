"""Texts with ``{{placeholders}}``: read once, rendered for each message. Pure.

A template that is JSON gives JSON whatever the values are: within a string a value is escaped, and
anywhere else it is written as JSON itself::

    {"text": "{{side}} {{symbol}}", "price": {{price}}, "n": {{evidence.n}}}
    {"text": "long BTCUSDT", "price": 93576.0, "n": null}

So no value can end a string, add a field or open a list. Any other template is plain text, in which
a value is one line. There are no conditions, loops or expressions. Nothing is known here of what
the names mean.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

#: What a placeholder may stand for.
Value = str | int | float | bool | list[str] | None
Place = Literal["string", "value", "text"]

_HOLE: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
#: One of each kind of JSON value: where all of them may stand, any value may.
_PROBES: Final[tuple[Value, ...]] = (0, -1.5, None, "", [])
_LINE_ENDS: Final = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")


class TemplateError(ValueError):
    """A template that cannot be used; the text says why and what would do."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A placeholder and where it stands."""

    name: str
    place: Place
    """Within a JSON string, where a JSON value is, or in plain text."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read; use `read_template` to get one."""

    parts: tuple[str | Hole, ...]
    is_json: bool

    @property
    def names(self) -> frozenset[str]:
        """The names of its placeholders."""
        return frozenset(part.name for part in self.parts if isinstance(part, Hole))

    def render(self, values: Mapping[str, Value]) -> str:
        """Return the text; raises KeyError for a name that `values` lacks.

        Raises TemplateError for a number that JSON does not have: NaN or infinity.
        """
        return "".join(
            part if isinstance(part, str) else _written(values[part.name], part)
            for part in self.parts
        )


def read_template(text: str, known: Collection[str]) -> Template:
    """Read a template whose placeholders are among `known`; raises TemplateError."""
    template = Template(tuple(_parts(text)), is_json=False)
    for name in sorted(template.names):
        if name not in known:
            raise TemplateError(_unknown(name, known))
    placed = _placed(template)
    problem = _json_problem(placed)
    if problem is None:
        return placed
    if _begins_like_json(template):
        raise TemplateError(
            f"begins like JSON and is none: {problem}; a placeholder stands within a string or "
            "where a whole value does"
        )
    if not text.strip():
        raise TemplateError("is empty")
    return template


def _begins_like_json(template: Template) -> bool:
    first = template.parts[0] if template.parts else ""
    return isinstance(first, str) and first.lstrip().startswith(("{", "["))


def _parts(text: str) -> list[str | Hole]:
    found: list[str | Hole] = []
    end = 0
    for match in _HOLE.finditer(text):
        found += [text[end : match.start()], Hole(match[1], "text")]
        end = match.end()
    found.append(text[end:])
    return [part for part in found if part]


def _placed(template: Template) -> Template:
    """Say of each placeholder whether it stands within a JSON string, if this is JSON."""
    inside = False
    parts: list[str | Hole] = []
    for part in template.parts:
        if isinstance(part, Hole):
            parts.append(Hole(part.name, "string" if inside else "value"))
        else:
            inside = _ends_inside(part, inside=inside)
            parts.append(part)
    return Template(tuple(parts), is_json=True)


def _ends_inside(text: str, *, inside: bool) -> bool:
    """Whether a piece of JSON ends within a string; `inside`: it begins within one."""
    escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and inside:
            escaped = True
        elif char == '"':
            inside = not inside
    return inside


def _json_problem(template: Template) -> str | None:
    """Say why this is not JSON with every kind of value in its places; None when it is.

    The kinds decide: JSON's grammar does not care which number or which string stands in a place.
    """
    for probe in _PROBES:
        try:
            json.loads(template.render(dict.fromkeys(template.names, probe)))
        except json.JSONDecodeError as error:
            return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return None


def _written(value: Value, hole: Hole) -> str:
    if hole.place == "text":
        return _LINE_ENDS.sub(" ", _text(value))
    if hole.place == "string":
        return _json(_text(value))[1:-1]
    return _json(value)


def _json(value: Value) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise TemplateError(f"{value} is no number in JSON") from error


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return ",".join(value) if isinstance(value, list) else _json(value)


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {{{{{near[0]}}}}}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown placeholder {{{{{name}}}}}; {hint}"
