"""Progress of long work: a bar below the cell of a notebook, or on a terminal; else nothing."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from candled.offline.progress import Step, steps


@contextmanager
def shown() -> Iterator[Step]:
    """Show the parts of long work as they are done; nothing of it stays in a notebook."""
    display = _notebook_display()
    if display is None:
        with steps() as step:
            yield step
        return
    handle = display({"text/html": "", "text/plain": ""}, raw=True, display_id=True)

    def show(text: str) -> None:
        handle.update({"text/html": text, "text/plain": ""}, raw=True)

    try:
        yield lambda what, done, of: show(
            f'<progress value="{done}" max="{of}"></progress> {html.escape(what)}: {done} of {of}'
        )
    finally:
        show("")


def _notebook_display() -> Any:  # noqa: ANN401 - of IPython, which is looked at only where it runs
    """Return IPython's display where a notebook shows it."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython  # noqa: PLC0415 - there since ipykernel is
    from IPython.display import display  # noqa: PLC0415

    return display if getattr(get_ipython(), "kernel", None) is not None else None
