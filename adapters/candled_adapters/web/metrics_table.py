"""The table of all figures in the documentation, made of what the code says of them.

``python -m candled_adapters.web.metrics_table FILE`` writes it anew between its two marks in a
page; ``make metrics`` does, into `docs/metrics.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from candled_adapters.web.metrics_kinds import KINDS

_BEGIN: Final = "<!-- figures: made by `make metrics` -->\n"
_END: Final = "<!-- end of figures -->\n"


def table() -> str:
    """Return the table: a line for each figure."""
    head = "| figure | type | labels | meaning |\n|---|---|---|---|\n"
    lines = (
        f"| `{kind.name}` | {kind.type} | {' '.join(kind.labels)} | {kind.help} |\n"
        for kind in KINDS
    )
    return head + "".join(lines)


def with_table(page: str) -> str:
    """Return a page with the table of now between its marks; raises ValueError without them."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the page lacks {_BEGIN.strip()} or {_END.strip()}")
    return before + begin + table() + end + after


if __name__ == "__main__":
    FILE = Path(sys.argv[1])
    FILE.write_text(with_table(FILE.read_text(encoding="utf-8")), encoding="utf-8")
