"""Wrong usage as one line: what is wrong, and where the help is."""

from __future__ import annotations

from typing import Final

import typer

CODE: Final = 2

#: What typer raises when a command line cannot be read; only some of its kinds have public names.
_USAGE: Final = typer.BadParameter.__mro__[1]


def explain_usage(error: BaseException) -> str | None:
    """Return what is wrong with a command line; None for anything else.

    Where a group was given no command it is the group's help, which is what they wanted.
    """
    if not isinstance(error, _USAGE):
        return None
    text = str(error.format_message())  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        return text
    where = getattr(error, "ctx", None)  # None where the words could not even be told apart
    command = where.command_path if where else "candled"
    return f"error: {' '.join(text.split()).removesuffix('.')}; see {command} --help"
