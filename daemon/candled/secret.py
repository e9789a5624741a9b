"""Secrets: read from files, or from the credentials that systemd hands over.

Never from the configuration itself, the environment or the command line, where others may look.

`credential:NAME` means the file NAME below $CREDENTIALS_DIRECTORY, which systemd fills for a unit
with `LoadCredential=NAME:/path` and which only this process may read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from candled.config import CREDENTIAL, ConfigError

_MOST_BYTES: Final = 65_536
_FOLDER: Final = "CREDENTIALS_DIRECTORY"
#: The group may read: a file of root:candled with 0640 is how secrets are given to a service.
_TOO_OPEN: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


def read_secret(key: str, where: Path | str) -> str:
    """Return the text that `where` holds, without the line end after it.

    `key` is the configuration's key, for the error: ConfigError when there is no such file or
    credential, or when it is empty, not text or larger than 64 KiB.
    """
    path = secret_file(key, where)
    try:
        content = _content(path)
        text = content.decode()
    except OSError as error:
        raise ConfigError(path, [f"{key}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        at = error.start  # the error itself shows the content
        raise ConfigError(path, [f"{key}: is not UTF-8 text (byte {at})"]) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(path, [f"{key}: is empty; write the secret into it"])
    return text


def secret_file(key: str, where: Path | str) -> Path:
    """Return the file that `where` means; ConfigError for a credential that nobody passed."""
    if not str(where).startswith(CREDENTIAL):
        return Path(where)
    name = str(where).removeprefix(CREDENTIAL)
    folder = os.environ.get(_FOLDER)
    if not folder:
        problem = (
            f"{key}: there is no ${_FOLDER}; start candled by a systemd unit that has "
            f"LoadCredential={name}:/path/of/the/file, or name a file"
        )
        raise ConfigError(Path(where), [problem])
    path = Path(folder, name)
    if not path.exists():
        raise ConfigError(
            path, [f"{key}: no such credential; add LoadCredential={name}:/path to the unit"]
        )
    return path


def exposure(key: str, where: Path | str) -> str | None:
    """Return who else may read or change the secret, with the mend; None when nobody may.

    Raises ConfigError as `read_secret` does.
    """
    path = secret_file(key, where)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(path, [f"{key}: cannot be read: {error.strerror or error}"]) from error
    if not mode & _TOO_OPEN:
        return None
    who = "everyone on this machine" if mode & stat.S_IRWXO else "its group"
    what = "change" if mode & (stat.S_IWOTH | stat.S_IWGRP) else "read"
    return f"{key}: {who} may {what} {path} (mode {stat.S_IMODE(mode):o}): chmod 600 {path}"


def _content(path: Path) -> bytes:
    if not path.is_file():  # a pipe would keep us waiting
        raise FileNotFoundError(2, "is not a file" if path.exists() else "no such file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(27, f"is larger than {_MOST_BYTES} bytes; that is no secret")
    return content
