"""Who holds a journal's lock, without touching it: a daemon may be about to start."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Final

_LOCKS: Final = Path("/proc/locks")
#: The number of a process that cannot be had, as of one in another container.
ELSEWHERE: Final = 0
_PARTS: Final = 6  # number, kind, mode, access, process, device:inode


def holder(folder: Path, locks: Path = _LOCKS) -> int | None:
    """Return the process that uses the journal in `folder`; None when nobody does.

    `ELSEWHERE` when somebody does whose number cannot be had. Where the system has no list of its
    locks, ours is tried for an instant.
    """
    file = folder / "lock"
    try:
        state = file.stat()
    except OSError:
        return None
    try:
        lines = locks.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ELSEWHERE if _is_taken(file) else None
    for line in lines:
        parts = line.replace("-> ", "").split()
        if len(parts) >= _PARTS and parts[1] == "FLOCK" and _inode(parts[5]) == state.st_ino:
            return int(parts[4]) if parts[4].isdecimal() else ELSEWHERE
    return None


def _inode(place: str) -> int:
    """Return the inode of device:inode; the device may be called otherwise than `stat` does."""
    number = place.rpartition(":")[2]
    return int(number) if number.isdecimal() else -1


def _is_taken(file: Path) -> bool:
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
