"""Which failure ends the process with which code, and what it says.

Codes are those of sysexits.h, which systemd's RestartPreventExitStatus knows: 65 data, 70 a broken
invariant, 75 temporary (try again), 78 configuration (a person must change something).
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    DATA = 65
    INVARIANT = 70
    TEMPORARY = 75
    CONFIG = 78


#: By name, so that explaining a failure imports nothing that the command did not use.
_KNOWN: dict[str, Exit] = {
    "ConfigError": Exit.CONFIG,
    "BundleError": Exit.CONFIG,
    "ArtifactError": Exit.CONFIG,
    "CandleFileError": Exit.DATA,
    "TrainingError": Exit.DATA,
    "SimulationError": Exit.DATA,
    "DemoError": Exit.DATA,
    "BrokerError": Exit.TEMPORARY,
    "PortInUseError": Exit.TEMPORARY,
    "JournalLockedError": Exit.TEMPORARY,
    "JournalError": Exit.INVARIANT,
    "FileExistsError": Exit.DATA,
    "FileNotFoundError": Exit.DATA,
    "IsADirectoryError": Exit.DATA,
    "NotADirectoryError": Exit.DATA,
    "PermissionError": Exit.DATA,
}


def explain(error: BaseException) -> tuple[str, Exit] | None:
    """Return the text and exit code of a failure that people can mend, else None."""
    if isinstance(error, BaseExceptionGroup):
        found = [known for inner in error.exceptions if (known := explain(inner))]
        return found[0] if found else None
    for kind in type(error).__mro__:
        if kind.__name__ in _KNOWN:
            return str(error), _KNOWN[kind.__name__]
    return None
