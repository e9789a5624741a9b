"""What became of a reload, as the daemon leaves it beside its journal for who asked for it.

One small file, replaced as a whole. Moments are of the machine's monotonic clock, which all its
processes share, so that who asks can tell an answer from an older one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = "reload.json"


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """One reload."""

    began_ns: int
    """When it began to read the configuration."""
    done: bool
    """Whether what was read is in force now."""
    changed: tuple[str, ...] = ()
    """Streams that are decided otherwise since; a line each, with what was and what is."""
    problems: tuple[str, ...] = ()
    """Why not; all of them."""


def leave(folder: Path, said: Reloaded) -> None:
    """Put it there whole; raises OSError."""
    draft = folder / f".{NAME}"
    draft.write_bytes(msgspec.json.encode(said))
    os.replace(draft, folder / NAME)  # noqa: PTH105 - says what it is: atomic


def find(folder: Path, since_ns: int) -> Reloaded | None:
    """Return what became of a reload that began at `since_ns` or later; None while there is none.

    What is no such file says nothing.
    """
    try:
        said = msgspec.json.decode((folder / NAME).read_bytes(), type=Reloaded)
    except (OSError, ValueError):
        return None
    return said if said.began_ns >= since_ns else None
