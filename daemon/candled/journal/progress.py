"""How far the journal had come, noted beside it.

A write-ahead log that is damaged or deleted takes the newest commits with it, and SQLite says
nothing: the file is sound, and older. What stands here is written after each commit and never
waited for. So it is never ahead of what was durable, and exact when only the process has died.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NAME: Final = "progress"
_DIGITS: Final = 19  # of SQLite's largest position: the note never grows, not even on a full disk


class Progress:
    """The note; close it at the end."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(folder / NAME, flags, 0o600)

    def read(self) -> tuple[str, int]:
        """Return the epoch and the position that were noted; what is no note says nothing."""
        epoch, _, position = os.pread(self._file, 256, 0).decode("ascii", "replace").partition(" ")
        return (epoch, int(position)) if position.strip().isdecimal() else ("", 0)

    def note(self, epoch: str, position: int) -> None:
        """Note how far it has come; where that cannot be written, what stood there stays true."""
        with suppress(OSError):
            os.pwrite(self._file, f"{epoch} {position:0{_DIGITS}}\n".encode(), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
