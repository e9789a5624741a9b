"""``python -m candled``: run a command; known failures become a clear line and an exit code."""

from __future__ import annotations

import sys
from typing import Any

from candled.cli import app
from candled.cli.usage import CODE, explain_usage
from candled.core.text import visible
from candled.errors import explain

_LINES = "\n"  # an error may have several


def main() -> None:
    """Run the command line; the process ends here."""
    sys.exit(_run())


def _run() -> Any:  # noqa: ANN401 - what a process may end with
    try:
        return app(standalone_mode=False)
    except Exception as error:
        if usage := explain_usage(error):
            sys.stderr.write(f"{visible(usage, _LINES)}\n")
            return CODE
        known = explain(error)
        if known is None:
            raise
        text, code = known
        sys.stderr.write(f"error: {visible(text, _LINES)}\n")
        return code


if __name__ == "__main__":
    main()
