"""The `reload` command: has the running daemon reload, and says what became of it.

The daemon is found by the lock of its state folder and asked by a signal; what it answers it leaves
there. Nothing is decided here.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from enum import IntEnum
from pathlib import Path
from typing import Final

from candled.config import load_config
from candled.core.text import visible
from candled.errors import Exit
from candled.journal.holder import ELSEWHERE, holder
from candled.reloaded import Reloaded, find

_PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.02
_LINES: Final = "\n"


class _Answer(IntEnum):
    DONE = 0
    NONE = 1
    """No daemon, or none that answers."""


def ask_reload(path: Path, patience_s: float = _PATIENCE_S) -> int:
    """Ask the daemon of that configuration; print what it says and return the exit code.

    0 when all of it is in force now, 78 when it was refused, 1 when nobody answered. Raises
    ConfigError for a file that no daemon could load either.
    """
    folder = load_config(path).state.path
    process = holder(folder)
    if process is None:
        return _say(f"no daemon runs on {folder}; start it with `candled run`", _Answer.NONE)
    if process == ELSEWHERE:
        return _say(
            f"the daemon on {folder} is out of reach: send SIGHUP where it runs", _Answer.NONE
        )
    since = time.monotonic_ns()
    try:
        os.kill(process, signal.SIGHUP)
    except PermissionError:
        return _say(f"process {process} is another user's; run this as that user", _Answer.NONE)
    except ProcessLookupError:
        return _say(f"process {process} has just ended", _Answer.NONE)
    return _told(_answer(folder, process, since, patience_s), process)


def _answer(folder: Path, process: int, since_ns: int, patience_s: float) -> Reloaded | None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        said = find(folder, since_ns)
        if said is not None or holder(folder) != process:
            return said
        time.sleep(_PAUSE_S)
    return None


def _told(said: Reloaded | None, process: int) -> int:
    if said is None:
        return _say(f"process {process} has not answered; its log says why", _Answer.NONE)
    if not said.done:
        lines = "\n".join(f"  {problem}" for problem in said.problems)
        count = len(said.problems)
        return _say(f"refused, nothing changed: {count} problem(s)\n{lines}", Exit.CONFIG)
    lines = "".join(f"\n  {change}" for change in said.changed)
    sys.stdout.write(visible(f"reloaded: {len(said.changed)} stream(s) changed{lines}\n", _LINES))
    return _Answer.DONE


def _say(text: str, code: int) -> int:
    sys.stderr.write(visible(f"{text}\n", _LINES))
    return code
