"""``python -m candled``: run a command; known failures become a clear line and an exit code."""

from __future__ import annotations

import sys

from candled.cli import app
from candled.core.text import visible
from candled.errors import explain

_LINES = "\n"  # an error may have several


def main() -> None:
    """Run the command line; the process ends here."""
    try:
        app()
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        text, code = known
        sys.stderr.write(f"error: {visible(text, _LINES)}\n")
        sys.exit(code)


if __name__ == "__main__":
    main()
