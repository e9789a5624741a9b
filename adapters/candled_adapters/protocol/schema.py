"""The payloads as JSON Schema (2020-12), generated from the types that make them.

``python -m candled_adapters.protocol.schema FOLDER`` writes the documents; ``make protocol`` does,
into `docs/protocol`. A schema says what must be there. It is open to further fields, since a
consumer ignores what it does not know.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from candled_adapters.protocol import shapes
from candled_adapters.protocol.asyncapi import document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: Every payload that has a name and a version of its own.
PAYLOADS: Final[tuple[type[msgspec.Struct], ...]] = (
    shapes.Signal,
    shapes.Correction,
    shapes.Head,
    shapes.Status,
    shapes.Info,
    shapes.Event,
    shapes.Digest,
    shapes.ReplayRequest,
    shapes.Replay,
    shapes.Shadow,
)


def name_of(payload: type[msgspec.Struct]) -> str:
    """Return what the field `schema` of a payload says, as ``candled.signal/1``."""
    return str(payload.__struct_config__.tag)


def components(template: str) -> dict[str, Any]:
    """Return the schemas of all payloads and their parts, by the names of their types.

    `template` is what refers to one of them, with ``{name}`` in it.
    """
    _, found = msgspec.json.schema_components(PAYLOADS, ref_template=template)
    return dict(found)


def payload_schema(payload: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the document of one payload, complete in itself."""
    _, parts = msgspec.json.schema_components([payload], ref_template="#/$defs/{name}")
    own = dict(parts.pop(payload.__name__))
    name, version = name_of(payload).removeprefix("candled.").split("/")
    head = {"$schema": DIALECT, "$id": f"urn:candled:{name}:{version}"}
    schema = {**head, **own, "title": name_of(payload)}
    return {**schema, "$defs": dict(sorted(parts.items()))} if parts else schema


def file_of(payload: type[msgspec.Struct]) -> str:
    """Return the name of a payload's file."""
    return name_of(payload).removeprefix("candled.").split("/")[0] + ".schema.json"


def documents() -> Mapping[str, str]:
    """Return the text of every document, by the name of its file."""
    made: dict[str, Any] = {file_of(payload): payload_schema(payload) for payload in PAYLOADS}
    names = {payload.__name__: name_of(payload) for payload in PAYLOADS}
    made["asyncapi.json"] = document(components("#/components/schemas/{name}"), names)
    return {name: json.dumps(what, indent=2) + "\n" for name, what in made.items()}


def write(folder: Path) -> None:
    """Write every document; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
