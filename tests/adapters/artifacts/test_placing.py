"""A folder takes the place of another in one step: whenever a crash comes, one of them is there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from candled_adapters.artifacts.placing import exchange, place

# Kills itself at the n-th thing that it asks of the system, if it gets that far.
CRASHING = """
import os, signal, sys
from pathlib import Path
from candled_adapters.artifacts.placing import place
draft, path, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
ASKED = ("os.", "open", "shutil.", "tempfile.", "ctypes.call_function", "ctypes.dlsym")
count = 0
def look(event, arguments):
    global count
    if event.startswith(ASKED):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
place.__globals__["os"].fsync = lambda handle, real=os.fsync: (look("os.fsync", ()), real(handle))
sys.addaudithook(look)
place(draft, path)
last = 0
"""


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    for name in ("one", "two"):
        (path / name).write_text(text)
    return path


def content(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


OLD, NEW = {"one": "old", "two": "old"}, {"one": "new", "two": "new"}


@pytest.mark.parametrize("replaces", [True, False])
def test_a_crash_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, *, replaces: bool):
    """Killed before each thing that it asks of the system, the whole old or new folder is there."""
    seen = []
    for step in range(1, 100):
        place_of = tmp_path / str(step)
        place_of.mkdir()
        draft = folder(place_of / ".draft", "new")
        if replaces:
            folder(place_of / "b", "old")
        command = [sys.executable, "-c", CRASHING, str(draft), str(place_of / "b"), str(step)]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        there = content(place_of / "b") if (place_of / "b").exists() else None
        assert there in ((OLD if replaces else None), NEW)
        seen.append(there == NEW)
        if code == 0:
            break
    assert code == 0
    assert seen == sorted(seen)  # old until the one step, new from then on
    assert seen.count(False) > 5
    assert seen.count(True) > 2


def test_names_are_exchanged_or_it_is_said_why_not(tmp_path: Path):
    """Both paths keep existing, each with the other's content; a missing one is an error."""
    one, two = folder(tmp_path / "one", "old"), folder(tmp_path / "two", "new")
    exchange(one, two)
    assert (content(one), content(two)) == (NEW, OLD)
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "three")
    assert content(one) == NEW


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_exchange_is_helped(tmp_path: Path, number: int):
    """The old folder is moved away first then, and nothing of it is left."""

    def refuse(_one: Path, _other: Path) -> None:
        raise OSError(number, os.strerror(number))

    draft, path = folder(tmp_path / ".draft", "new"), folder(tmp_path / "b", "old")
    place(draft, path, refuse)
    assert content(path) == NEW
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


def test_any_other_failure_is_raised_and_changes_nothing(tmp_path: Path):
    """A disk that fails is not taken for one that cannot exchange."""

    def fail(_one: Path, _other: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    draft, path = folder(tmp_path / ".draft", "new"), folder(tmp_path / "b", "old")
    with pytest.raises(OSError, match="Input/output error"):
        place(draft, path, fail)
    assert (content(path), content(draft)) == (OLD, NEW)


def test_a_second_step_that_fails_puts_the_old_folder_back(tmp_path: Path):
    """Without exchange, a draft that cannot take the place leaves the old folder there, whole."""
    draft, path = folder(tmp_path / ".draft", "new"), folder(tmp_path / "b", "old")

    def lose_the_draft(_one: Path, _other: Path) -> None:
        draft.rename(tmp_path / "elsewhere")
        raise OSError(errno.ENOSYS, "Function not implemented")

    with pytest.raises(FileNotFoundError):
        place(draft, path, lose_the_draft)
    assert content(path) == OLD
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b", "elsewhere"]
