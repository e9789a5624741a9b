"""The systemd unit of one daemon: the text in `candled.service`, with its places filled in.

systemd/candled.service is the same text with the usual places. What the unit's restrictions would
keep the daemon from is told beside it, each with its mend. Writes one file, and only when asked.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from candled.config import CREDENTIAL, Config

_STATE: Final = Path("/var/lib")
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
#: Keys of tables whose values are all files with secrets.
_SECRET_TABLES: Final = ("headers", "secrets")
#: Files that everyone may read.
_PUBLIC_FILES: Final = ("ca_file", "cert_file")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit for one daemon."""

    text: str
    warnings: tuple[str, ...]
    """What would not work under it, each with the mend."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on the machine that the unit is for; all absolute."""

    program: Path
    """The `candled` command."""
    config: Path
    name: str = "candled"
    """Of the unit and of its state folder below /var/lib."""


USUAL: Final = Places(Path("/opt/candled/.venv/bin/candled"), Path("/etc/candled/config.toml"))


def installed(config: Path, name: str) -> Places:
    """Return the places of this installation."""
    beside = Path(sys.executable).parent / "candled"
    found = beside if beside.exists() else Path(shutil.which("candled") or beside)
    return Places(found.absolute(), config.absolute(), name)


def unit_of(places: Places, config: Config | None = None) -> Unit:
    """Return the unit; `config`, with absolute paths, says which credentials it must hand over."""
    told = dict(_secrets(config.model_dump())) if config else {}
    credentials = sorted(
        {str(where).removeprefix(CREDENTIAL) for where in told.values() if _is_credential(where)}
    )
    parts = {
        "WHERE": f"program {places.program}, configuration {places.config}",
        "NAME": places.name,
        "INSTANCE": "" if places.name == USUAL.name else f" ({places.name})",
        "PROGRAM": _escaped(places.program),
        "CONFIG": _escaped(places.config),
        "CREDENTIALS": _credential_lines(credentials, places.config.parent / "secrets"),
    }
    text = files("candled").joinpath("candled.service").read_text(encoding="utf-8")
    for name, value in parts.items():
        text = text.replace(f"@{name}@", value)
    return Unit(text, tuple(_warnings(places, config, told)))


def check_name(name: str) -> None:
    """Raise ValueError for a name that is none of a unit and a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(f"{name!r} is no name of a unit; use letters, digits, '-', '_' and '.'")


def write_unit(unit: Unit, path: Path) -> None:
    """Write the unit so that it appears whole; one that is there is replaced. Raises OSError."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(unit.text, encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _credential_lines(names: list[str], folder: Path) -> str:
    lines = [
        "# Secrets: the files stay root's (0600); systemd hands what is in them to this service.",
        "# LoadCredentialEncrypted= does as well (systemd-creds encrypt).",
    ]
    usual = f'# LoadCredential=mqtt:{folder}/mqtt    for [mqtt] password_file = "credential:mqtt"'
    return "\n".join(
        lines + ([f"LoadCredential={name}:{_escaped(folder / name)}" for name in names] or [usual])
    )


def _warnings(places: Places, config: Config | None, told: dict[str, Path]) -> Iterator[str]:
    for what, path in (("the program", places.program), ("the configuration", places.config)):
        if any(path.is_relative_to(folder) for folder in _HIDDEN):
            yield f"{what} {path} is hidden from the service; move it below /opt or /etc"
    if config is None:
        return
    state = _STATE / places.name
    if not config.state.path.is_relative_to(state):
        yield f'state.path: {config.state.path} cannot be written by the service; set "{state}"'
    decisions = config.log.decisions
    if decisions not in ("", "-") and not Path(decisions).is_relative_to(state):
        yield (
            f"log.decisions: {decisions} cannot be written by the service; "
            f'name a file below {state}, or "-"'
        )
    for key, where in told.items():
        if not _is_credential(where):
            yield (
                f"{key}: {where} must be readable by a user that is made at each start; "
                f'set "{CREDENTIAL}{where.name}" and put it into {places.config.parent}/secrets'
            )


def _secrets(part: Any, at: str = "") -> Iterator[tuple[str, Path]]:  # noqa: ANN401 - a dump
    """Find the places of secrets in a dumped configuration, by their keys."""
    items = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in items:
        where = f"{at}.{key}" if at else str(key)
        if isinstance(value, dict) and key in _SECRET_TABLES:
            yield from ((f"{where}.{name}", path) for name, path in value.items())
        elif isinstance(value, dict | list):
            yield from _secrets(value, where)
        elif isinstance(value, Path) and str(key).endswith("_file") and key not in _PUBLIC_FILES:
            yield where, value


def _is_credential(where: Path) -> bool:
    return str(where).startswith(CREDENTIAL)


def _escaped(path: Path) -> str:
    """Spell a path in a unit file: systemd reads % as a specifier, and splits at spaces."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if any(c.isspace() for c in text) else text
