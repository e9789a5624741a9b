"""An application's diary: one JSON line for each thing that it did, which kill -9 cannot undo.

A line is one write, so that what was done and the state that follows from it are on record together
or not at all. A line that a kill cut short never happened.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Diary:
    """The open diary; on opening, a torn line at its end is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = read(path)
        """What it held when it was opened."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        whole = _whole(path.read_bytes())
        os.ftruncate(self._file, len(whole))
        os.lseek(self._file, 0, os.SEEK_END)

    def write(self, line: Line) -> None:
        """Put a line on record."""
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read(path: Path) -> list[Line]:
    """Return the whole lines; none where there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in _whole(path.read_bytes()).splitlines()]


def _whole(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]
