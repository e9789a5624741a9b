"""Makes challengers champions in the text of a config.toml, and puts that in the file's place.

What people wrote stays as they wrote it: comments, order, white space. What comes out is read again
and compared with what was meant before anything is written. Knows nothing of models.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

_BYTE_ORDER_MARK: Final = "\ufeff"


class PromotionError(Exception):
    """A challenger cannot be made the champion; the text says why, and the mend."""


def promote(text: str, parts: Collection[int]) -> str:
    """Return a configuration in which the challengers of these [[streams]] are the champions.

    `text` is valid TOML. A part's bundle becomes what its challenger is, and its policy what its
    challenger_policy is if it has one. Raises PromotionError where that cannot be written without
    changing anything else.
    """
    mark = text[: len(text) - len(text.removeprefix(_BYTE_ORDER_MARK))]
    wanted = tomllib.loads(_plain(text))
    for index in parts:
        _in_place(wanted["streams"][index], dict)
    try:
        document = tomlkit.parse(text.removeprefix(mark))
        for index in parts:
            _in_place(document["streams"][index], _inline)
        made = mark + tomlkit.dumps(document)
        if tomllib.loads(_plain(made)) == wanted:
            return made
    except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError):
        pass
    raise PromotionError(
        "the file is written in a way that cannot be changed without changing more; do it by hand: "
        "put the challenger's path under bundle, its challenger_policy under policy, and remove "
        "both keys"
    )


def _plain(text: str) -> str:
    return text.removeprefix(_BYTE_ORDER_MARK).replace("\r\n", "\n")


def _in_place(part: Any, policy: Callable[[Any], Any]) -> None:  # noqa: ANN401 - TOML, of two libraries
    """Change one part; `policy` makes a table of the challenger's policy."""
    own = part.get("challenger_policy")
    part["bundle"] = str(part["challenger"])
    del part["challenger"]
    if own is None:
        return
    replaced = part.get("policy")
    remarks = [*_remarks_after(replaced), *_remarks_after(own)]
    del part["challenger_policy"]
    if replaced is not None:
        del part["policy"]
    part["policy"] = policy(own)
    for remark in remarks:
        part.add(remark)


def _remarks_after(table: Any) -> list[Any]:  # noqa: ANN401 - TOML, of two libraries
    """Return the comments and blank lines behind a table's last key, which are about the next."""
    if not isinstance(table, Table):
        return []
    found = takewhile(lambda item: item[0] is None, reversed(table.value.body))
    return [item for _, item in found][::-1]


def _inline(table: Any) -> Any:  # noqa: ANN401 - a table of tomlkit's
    made = tomlkit.inline_table()
    made.update(table.unwrap())
    return made


def read(path: Path) -> bytes:
    """Return the file's content; raises OSError."""
    return path.read_bytes()


def put_in_place(path: Path, before: bytes, text: str, check: Callable[[Path], None]) -> Path:
    """Let the file hold `text` instead of `before`, all at once; return what keeps the latter.

    `check` is given the new file beside the old one, and may refuse it by raising. Raises
    PromotionError when the file holds something else by now, OSError when it cannot be written.
    """
    path = path.resolve()  # a link stays one
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".toml", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        _same_owner(path, new)
        check(new)
        kept = _kept(path, before)
        if read(path) != before:
            kept.unlink()
            raise PromotionError(f"{path}: was changed meanwhile; look at it and begin again")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return kept


def _same_owner(path: Path, new: Path) -> None:
    shutil.copymode(path, new)
    with suppress(OSError):  # only root may give files away
        known = path.stat()
        os.chown(new, known.st_uid, known.st_gid)


def _kept(path: Path, content: bytes) -> Path:
    """Keep what was there in a new file beside it, with the same rights."""
    number = 1
    while True:
        place = path.with_name(f"{path.name}.before-{number}")
        try:
            with place.open("xb") as file:
                file.write(content)
        except FileExistsError:
            number += 1
            continue
        _same_owner(path, place)
        return place
