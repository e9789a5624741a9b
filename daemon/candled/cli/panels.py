"""How the commands are listed: in panels by what they are for, in plain text.

Rich would draw boxes around them, and takes longer to import than the answer may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN: Final = "Run"
LOOK: Final = "Look"
LEARN: Final = "Learn"
PROVE: Final = "Prove"
MODELS: Final = "Models"

_PANELS: Final = (RUN, LOOK, LEARN, PROVE, MODELS)
_MARGIN: Final = 6  # what a list of definitions puts beside its two columns


class Panels(TyperGroup):
    """A group of commands whose help lists them panel by panel."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own
        """Write a section for each panel, and one for commands of none."""
        width = max(map(len, self.list_commands(ctx)), default=0)
        limit = formatter.width - _MARGIN - width
        for panel in (*_PANELS, None):
            rows = [(name, cmd.get_short_help_str(limit)) for name, cmd in self._of(ctx, panel)]
            if rows:
                with formatter.section(panel or "Commands"):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def _of(self, ctx: Any, panel: str | None) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None or command.hidden:
                continue
            mine = getattr(command, "rich_help_panel", None)
            if (mine if isinstance(mine, str) else None) == panel:
                yield name, command
