"""Programs as child processes: started, killed, frozen and started again; none outlives its test.

What a program says goes to one file, which the next start continues. Knows nothing of what it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends, however it does."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Program:
    """``python ARGUMENTS`` as a child process."""

    name: str
    arguments: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None
    unasked: list[int] = field(default_factory=list)
    """Exit codes of ends that nobody asked for."""
    started_ns: int = 0
    """Wall clock when it was last started."""
    _begun: int = 0
    """Size of what it had said then."""

    @property
    def said_in(self) -> Path:
        """The file with all that it has said."""
        return self.folder / f"{self.name}.out"

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def start(self) -> None:
        assert self.child is None, f"{self.name} was not ended"
        self.started_ns = time.time_ns()
        paths = os.pathsep.join(path for path in sys.path if path)
        with self.said_in.open("ab") as said:
            self._begun = said.tell()
            self.child = subprocess.Popen(
                [sys.executable, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=os.environ | {"PYTHONPATH": paths} | self.env,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it does one system call
            )

    def kill(self) -> None:
        """Kill -9, in whatever state it is."""
        if self.child is None:
            return
        code = self.child.poll()
        if code is not None:
            self.unasked.append(code)
        self.child.kill()
        self.child.wait()
        self.child = None

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP)."""
        assert self.child is not None
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self.child is not None
        self.child.send_signal(signal.SIGCONT)

    def terminate(self, seconds: float = 20.0) -> int:
        """SIGTERM; return the exit code."""
        assert self.child is not None
        self.child.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait for an end that is expected; return the exit code."""
        assert self.child is not None
        code = self.child.wait(timeout=seconds)
        self.child = None
        return code

    def words(self) -> str:
        """Return what it has said since its last start."""
        with self.said_in.open("rb") as said:
            said.seek(self._begun)
            return said.read().decode(errors="replace")

    async def until_said(self, text: str, seconds: float) -> str:
        """Wait for a text since the last start; return its line."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.words().splitlines():
                if text in line:
                    return line
            assert time.monotonic() < deadline, f"no {text!r}: {self.words()[-3000:]}"
            await asyncio.sleep(0.02)


async def until(
    true: Callable[[], bool],
    seconds: float,
    why: Callable[[], str] = lambda: "not in time",
    *,
    every_s: float = 0.02,
) -> None:
    """Wait for a condition; fails with what `why` says."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, why()
        await asyncio.sleep(every_s)
