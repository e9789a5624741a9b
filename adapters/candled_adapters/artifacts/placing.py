"""Putting a finished folder in the place of another one, so that a crash leaves one of the two.

Linux exchanges two names in one step (renameat2 with RENAME_EXCHANGE). Where the file system cannot
do that, the old folder is renamed away first: then a crash between two renames leaves it beside
its place, under a hidden name. Knows nothing of what is in the folders.
https://man7.org/linux/man-pages/man2/renameat2.2.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NOT_HERE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def exchange(one: Path, other: Path) -> None:
    """Let two existing paths swap their names in one step; raises OSError, ENOSYS if it cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError as error:  # another C library
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    ends = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    if renameat2(*ends, ctypes.c_uint(_RENAME_EXCHANGE)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def place(draft: Path, path: Path, swap_names: Callable[[Path, Path], None] = exchange) -> None:
    """Put the folder `draft` durably at `path`, its neighbour, in the place of what is there.

    What was there may be left where the draft was, for the caller to remove. Raises OSError, and
    then what was at `path` is there still.
    """
    _sync_tree(draft)
    if not path.exists():
        draft.rename(path)
    else:
        try:
            swap_names(draft, path)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            _replace_in_two_steps(draft, path)
    _sync(path.parent)


def _replace_in_two_steps(draft: Path, path: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    path.rename(old / path.name)
    try:
        draft.rename(path)
    except BaseException:
        (old / path.name).rename(path)
        old.rmdir()
        raise
    _sync(path.parent)
    shutil.rmtree(old)


def _sync_tree(folder: Path) -> None:
    """Make sure that a folder's files and names outlive a loss of power."""
    for where, _, names in os.walk(folder):
        for name in names:
            _sync(Path(where) / name)
        _sync(Path(where))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
