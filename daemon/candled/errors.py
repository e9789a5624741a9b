"""Which failure ends the process with which code, and what it says.

Codes are those of sysexits.h, which systemd's RestartPreventExitStatus knows: 65 data, 70 a broken
invariant, 75 temporary (try again), 78 configuration (a person must change something).
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """Exit codes."""

    DATA = 65
    INVARIANT = 70
    TEMPORARY = 75
    CONFIG = 78


#: By name, so that explaining a failure imports nothing that the command did not use.
_KNOWN: Final[dict[str, Exit]] = {
    "ConfigError": Exit.CONFIG,
    "BundleError": Exit.CONFIG,
    "ArtifactError": Exit.CONFIG,
    "FeatureSetError": Exit.CONFIG,
    "SigningError": Exit.CONFIG,
    "CandleFileError": Exit.DATA,
    "TableError": Exit.DATA,
    "PromotionError": Exit.DATA,
    "ExtraMissingError": Exit.CONFIG,
    "FetchError": Exit.DATA,
    "FetchPausedError": Exit.TEMPORARY,
    "HistoryError": Exit.DATA,
    "PartFileError": Exit.DATA,
    "TrainingError": Exit.DATA,
    "BacktestError": Exit.DATA,
    "RecipeError": Exit.CONFIG,
    "TuningError": Exit.CONFIG,
    "UnjudgedError": Exit.DATA,
    "VerificationError": Exit.DATA,
    "SimulationError": Exit.DATA,
    "DemoError": Exit.DATA,
    "BenchError": Exit.DATA,
    "BrokerError": Exit.TEMPORARY,
    "TailError": Exit.CONFIG,
    "OutcomesError": Exit.CONFIG,
    "ReplayError": Exit.CONFIG,
    "PortInUse": Exit.TEMPORARY,
    "JournalLockedError": Exit.TEMPORARY,
    "JournalUnavailableError": Exit.TEMPORARY,
    "JournalError": Exit.INVARIANT,
    "FileExistsError": Exit.DATA,
    "FileNotFoundError": Exit.DATA,
    "IsADirectoryError": Exit.DATA,
    "NotADirectoryError": Exit.DATA,
    "PermissionError": Exit.DATA,
}


#: Failures of the system that have no class of their own.
_OF_THE_DISK: Final[dict[int, Exit]] = {
    errno.ENOSPC: Exit.TEMPORARY,
    errno.EDQUOT: Exit.TEMPORARY,
    errno.EROFS: Exit.DATA,
    errno.ENAMETOOLONG: Exit.DATA,
}

_LINE: Final = 500  # characters of a failure that go into a status

#: What starting again mends least comes last.
_GRAVITY: Final = (Exit.TEMPORARY, Exit.DATA, Exit.INVARIANT, Exit.CONFIG)


def explain(error: BaseException) -> tuple[str, Exit] | None:
    """Return the text and exit code of a failure that people can mend, else None.

    A group is explained, once for each failure in it and with the gravest code, when all of them
    are: a bug must not hide behind what is known.
    """
    found = [_explained(one) for one in _singles(error)]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    texts = dict.fromkeys(text for text, _ in known)
    return "\n".join(texts), max((code for _, code in known), key=_GRAVITY.index)


def describe(error: BaseException) -> str:
    """Return what any failure says, in one line; one that nobody foresaw is named by its kind."""
    said = explain(error)
    texts = [said[0]] if said else [f"{type(e).__name__}: {e}" for e in _singles(error)]
    return "; ".join(" ".join(text.split()) for text in dict.fromkeys(texts))[:_LINE]


def _singles(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [one for inner in error.exceptions for one in _singles(inner)]
    return [error]


def _explained(error: BaseException) -> tuple[str, Exit] | None:
    for kind in type(error).__mro__:
        if kind.__name__ in _KNOWN:
            return _text(error), _KNOWN[kind.__name__]
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return _text(error), _OF_THE_DISK[error.errno]
    return None


def _text(error: BaseException) -> str:
    """Return what an error says; the system's own put the file before what is wrong with it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
