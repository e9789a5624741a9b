"""Progress of long work, on standard error: a bar on a terminal, and what it waits for anywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

_SAID_FROM_S = 2.0  # shorter waits are not worth a line in a log


Step = Callable[[str, int, int], None]
"""Is told what is being done, how many parts are done, and of how many."""


@contextmanager
def steps() -> Iterator[Step]:
    """Show long work of several parts on a terminal; say nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _of: None
        return
    tasks: dict[str, Any] = {}
    with _rich_bar() as bar:

        def step(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of, said="")
            bar.update(tasks[what], completed=done, total=of, said=f"{done} of {of}")

        yield step


class Progress:
    """A context manager; silent but for long waits where nobody watches."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._task: Any = None
        self._bars = 0
        self._start_ms = 0

    def __enter__(self) -> Self:
        """Show the bar if there is a terminal."""
        if sys.stderr.isatty():
            self._bar = _rich_bar()
            self._task = self._bar.add_task(self._title, total=None, said="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def begin(self, start_ms: int, end_ms: int) -> None:
        """Say how far it goes (UTC ms)."""
        self._start_ms = start_ms
        if self._bar is not None:
            self._bar.update(self._task, total=end_ms - start_ms)

    def reached(self, open_time: int, bars: int) -> None:
        """Say how far it is (UTC ms), and how many bars have come with it."""
        self._bars += bars
        if self._bar is not None:
            done, said = open_time - self._start_ms, f"{self._bars:,} bars"
            self._bar.update(self._task, completed=done, said=said)

    def waiting(self, reason: str, seconds: float) -> None:
        """Say why nothing happens, and for how long (s)."""
        if seconds < _SAID_FROM_S:
            return
        text = f"{time.strftime('%H:%M:%S')} {reason}; asking again in {seconds:.0f} s"
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(text + "\n")


def _rich_bar() -> Any:  # noqa: ANN401 - of rich, which is imported only where it is shown
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
