"""What a consumer must not forget when its process ends: one file that grows, and is tidied.

A line is either what was told (how far its streams were told now, and the signals themselves,
which are to be handed over to the application), or the id of a signal that is being handed over.
That line is written before the application gets the signal: after a crash it is not handed over
again, so it cannot be acted on twice. Knows nothing of MQTT.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from candled_adapters.protocol.shapes import Signal
from candled_adapters.subscriber.numbers import Numbers

_TIDY_BYTES: Final = 4_000_000


class MemoryFileError(Exception):
    """A memory that cannot be used; the text names the file and the mend."""


class Kept(msgspec.Struct, tag_field="schema", tag="candled.consumer/1"):
    """What was told: a line of the file, and what all its lines come to."""

    streams: dict[str, Numbers]
    pending: tuple[Signal, ...]
    """Told, and not handed over; oldest first."""


class Memory:
    """The file at `path`, whose folder must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._size = 0

    @property
    def is_long(self) -> bool:
        """Whether the file should be written anew, as `begin` does."""
        return self._size > _TIDY_BYTES

    def load(self) -> Kept:
        """Return what was kept; nothing when there is no file. Raises MemoryFileError."""
        try:
            first, *further = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return Kept({}, ())
        except OSError as error:
            raise MemoryFileError(f"{self._path}: cannot be read: {error.strerror}") from error
        kept = _read(first)
        if kept is None:
            raise MemoryFileError(
                f"{self._path}: not a consumer's memory; move it away to begin anew, and nothing "
                "older than the first contact is told"
            )
        pending = {signal.id: signal for signal in kept.pending}
        for line in further:
            if told := _read(line):  # a line that was torn says nothing
                kept.streams.update(told.streams)
                pending.update((signal.id, signal) for signal in told.pending)
            pending.pop(line.decode(errors="replace"), None)
        return Kept(kept.streams, tuple(pending.values()))

    def begin(self, streams: Mapping[str, Numbers], pending: Iterable[Signal]) -> None:
        """Write everything anew, durably. Raises MemoryFileError."""
        self.close()
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.unlink(missing_ok=True)
            self._file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self._size = 0
            self._write(_line(streams, pending), durable=True)
            beside.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise MemoryFileError(f"{self._path}: cannot be written: {error.strerror}") from error

    def tell(self, streams: Mapping[str, Numbers], signals: Iterable[Signal]) -> None:
        """Note what was told of some streams. Raises MemoryFileError."""
        self._write(_line(streams, signals), durable=False)

    def hand_over(self, name: str, *, durable: bool) -> None:
        """Note that a signal is handed over now; `durable`: even if the machine loses its power.

        Raises MemoryFileError.
        """
        self._write(f"{name}\n".encode(), durable=durable)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes, *, durable: bool) -> None:
        assert self._file is not None, "begin comes first"  # noqa: S101
        self._size += len(data)
        try:
            while data:
                data = data[os.write(self._file, data) :]
            if durable:
                os.fsync(self._file)
        except OSError as error:
            raise MemoryFileError(f"{self._path}: cannot be written: {error.strerror}") from error


def _line(streams: Mapping[str, Numbers], signals: Iterable[Signal]) -> bytes:
    return msgspec.json.encode(Kept(dict(streams), tuple(signals))) + b"\n"


def _read(line: bytes) -> Kept | None:
    try:
        return msgspec.json.decode(line, type=Kept)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
