"""The bench's processes and how they talk: one JSON value a line, down stdin and up stdout.

Both ends live here. A child ends when its stdin does, so none outlives the bench. Knows nothing of
what is said.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

Message = dict[str, Any]

_LINE_LIMIT: Final = 64 * 2**20  # a thousand messages on one line are a megabyte
_END_S: Final = 5.0
_OPENMP: Final = "OMP_WAIT_POLICY"
_UTIME: Final = 11  # its place in /proc/PID/stat, counted after the name; that of stime follows


class BenchError(Exception):
    """The benchmark cannot be run, or one of its processes failed."""


class Child:
    """A running process of the bench."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    async def say(self, message: Mapping[str, object]) -> None:
        """Send one message."""
        stdin = self._process.stdin
        if stdin is not None:
            stdin.write(json.dumps(message).encode() + b"\n")
            await stdin.drain()

    async def hear(self, within_s: float) -> Message:
        """Return the next message; raises BenchError when none comes."""
        stdout = self._process.stdout
        line = b""
        try:
            if stdout is not None:
                line = await asyncio.wait_for(stdout.readline(), within_s)
        except TimeoutError:
            raise BenchError(f"{self._name} said nothing for {within_s:.0f} s") from None
        if not line:
            code = await self._process.wait()
            raise BenchError(f"{self._name} ended with code {code}; see its last words above")
        message: Message = json.loads(line)
        return message

    def resident_mib(self) -> float:
        """Return its resident memory (MiB)."""
        return resident_mib(self._process.pid)

    def cpu_s(self) -> float:
        """Return the CPU time that it has used (s)."""
        return cpu_s(self._process.pid)

    async def end(self) -> None:
        """End it, kindly or not, and do not leave before it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await end_process(self._process)


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that has been told to end, then insist."""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process (MiB), or NaN where there is no /proc."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Return the most memory that was ever resident in a process (MiB), NaN without /proc."""
    return _status_mib(pid, "VmHWM")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process (s), or NaN where there is no /proc."""
    with suppress(OSError):
        said = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(said[_UTIME]) + int(said[_UTIME + 1])) / os.sysconf("SC_CLK_TCK")
    return float("nan")


def _status_mib(pid: int, name: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return float("nan")


@asynccontextmanager
async def child(name: str, *, plain_threads: bool = False) -> AsyncIterator[Child]:
    """Run ``python -m candled.bench.NAME``, which waits for its settings.

    With `plain_threads` OpenMP waits as it does for anyone who has not heard of it.
    """
    environment = {k: v for k, v in os.environ.items() if not (plain_threads and k == _OPENMP)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"{__package__}.{name}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
        env=environment,
    )
    running = Child(name, process)
    try:
        yield running
    finally:
        await running.end()


# --- the child's end


async def heard() -> AsyncIterator[Message]:
    """Yield what the bench says, until it has no more to say."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


def say(message: Mapping[str, object]) -> None:
    """Tell the bench."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
