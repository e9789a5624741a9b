"""What a consumer must not forget when its process ends: one small file.

The first line says how far each stream was told, and which signals were told by the rules but not
yet handed to the application. Each further line is the id of one that was handed over since. A
signal is written down before it is handed over: after a crash it is not handed over again, so it
cannot be acted on twice. Knows nothing of MQTT.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from candled_adapters.protocol.shapes import Signal
from candled_adapters.subscriber.numbers import Numbers

_SCHEMA: Final = "candled.consumer/1"


class MemoryFileError(Exception):
    """A memory that cannot be used; the text names the file and the mend."""


class Kept(msgspec.Struct, frozen=True, tag_field="schema", tag=_SCHEMA):
    """The first line."""

    streams: dict[str, Numbers]
    pending: tuple[Signal, ...]
    """Oldest first."""


class Memory:
    """The file at `path`; its folder must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Kept:
        """Return what was kept; nothing when there is no file. Raises MemoryFileError."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Kept({}, ())
        except OSError as error:
            raise MemoryFileError(f"{self._path}: cannot be read: {error.strerror}") from error
        first, *handed = content.split(b"\n")
        try:
            kept = msgspec.json.decode(first, type=Kept)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise MemoryFileError(
                f"{self._path}: not a consumer's memory ({str(error)[:200]}); move it away to "
                "begin anew, and nothing older than the first contact is told"
            ) from error
        gone = {line.decode(errors="replace") for line in handed}
        left = tuple(signal for signal in kept.pending if signal.id not in gone)
        return Kept(kept.streams, left)

    def begin(self, streams: dict[str, Numbers], pending: Iterable[Signal]) -> None:
        """Write everything anew, durably. Raises MemoryFileError."""
        line = msgspec.json.encode(Kept(streams, tuple(pending))) + b"\n"
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            _write(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, line)
            beside.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise MemoryFileError(f"{self._path}: cannot be written: {error.strerror}") from error

    def hand_over(self, name: str) -> None:
        """Note durably that a pending signal is handed over now. Raises MemoryFileError."""
        try:
            _write(self._path, os.O_WRONLY | os.O_APPEND, f"{name}\n".encode())
        except OSError as error:
            raise MemoryFileError(f"{self._path}: cannot be written: {error.strerror}") from error


def _write(path: Path, flags: int, data: bytes) -> None:
    file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
