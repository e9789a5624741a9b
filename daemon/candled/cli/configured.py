"""What may be configured, told from the tables that validate it, and from the words beside them.

Types, bounds and defaults are pydantic's; the meaning of a key is the docstring below it.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from candled.config import tables as schema
from candled.config.tables import Config

_NAMES: Final = {str: "text", int: "number", float: "number", bool: "true or false", Path: "path"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table."""

    name: str
    type: str
    """In words, bounds included."""
    default: str
    """As it is written in the file, or what its absence means."""
    meaning: str


@dataclass(frozen=True, slots=True)
class TableOf:
    """One table of the file."""

    name: str
    """As it is written: ``[mqtt]``, ``[[streams]]``."""
    meaning: str
    keys: tuple[Key, ...]


def tables() -> list[TableOf]:
    """Return every table of the configuration in the order in which the file has them."""
    said = docstrings(inspect.getsource(schema))
    found = []
    for name, field in Config.model_fields.items():
        model = next(_models(field.annotation), None)
        if model is None:
            raise TypeError(f"{name} is no table")
        origin = get_origin(field.annotation)
        written = (
            f"[[{name}]]" if origin is list else f"[{name}.NAME]" if origin is dict else f"[{name}]"
        )
        about = " ".join((model.__doc__ or "").split())
        keys = tuple(
            _key(key, of, said.get((model.__name__, key), ""))
            for key, of in model.model_fields.items()
        )
        found.append(TableOf(written, re.sub(r"^\[+[\w.]+\]+ ", "", about), keys))
    return found


def docstrings(source: str) -> dict[tuple[str, str], str]:
    """Return the text below each attribute of each class of a module, by class and attribute."""
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for at, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(at, ast.AnnAssign)
                and isinstance(at.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[node.name, at.target.id] = " ".join(str(below.value.value).split())
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _key(name: str, field: FieldInfo, meaning: str) -> Key:
    kind = type_words(field.annotation, field.metadata)
    return Key(name, kind, _default(field), meaning)


def type_words(annotation: Any, metadata: Any = ()) -> str:  # noqa: ANN401 - any annotation
    """Return what a value may be, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):  # Annotated
        return type_words(arguments[0], annotation.__metadata__)
    if origin in (Union, types.UnionType):
        kinds = [type_words(one, metadata) for one in arguments if one is not type(None)]
        return " or ".join(kinds)
    if origin is Literal:
        words = " or ".join(f"`{json.dumps(one)}`" for one in arguments)
    elif origin is list:
        words = f"list of {type_words(arguments[0])}"
    elif origin is dict:
        words = f"table of {type_words(arguments[1])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        words = f"the keys of [{annotation.__name__.removesuffix('Config').lower()}]"
    elif annotation is Path and any(getattr(one, "func", None) for one in metadata):
        words = "path, or `credential:NAME`"
    else:
        words = _NAMES.get(annotation, str(annotation))
        words = "whole number" if annotation is int else words
    limits = ", ".join(filter(None, map(_bound, _flat(metadata))))
    return f"{words}, {limits}" if limits else words


def _flat(metadata: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever annotates
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from one.metadata
        else:
            yield one


_BOUNDS: Final = (
    ("ge", "at least {:g}"), ("gt", "above {:g}"), ("le", "at most {:g}"), ("lt", "below {:g}"),
    ("min_length", "at least {} long"), ("max_length", "at most {} long"),
)  # fmt: skip


def _bound(one: object) -> str:
    """Return what an annotation demands, in words; nothing for one that is no bound."""
    said = [text.format(getattr(one, name)) for name, text in _BOUNDS if hasattr(one, name)]
    return ", ".join(said)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "absent"
    if isinstance(value, BaseModel):
        return "the general ones"
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"
