"""A candle file as blocks of whole lines: plain, gzipped or zipped, never too much at once.

Knows bytes and packing, not cells. What unpacks to far more than its size is refused while it is
being unpacked, so that a small hostile file cannot fill the memory.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

_BLOCK: Final = 2**22
_LONGEST_LINE: Final = 2**20
_FREE: Final = 2**24  # bytes that any file may unpack to
_MOST_PACKED: Final = 250  # real candles pack 3 to 10 times; runs without trades up to about 100


class CandleFileError(ValueError):
    """A candle file that cannot be used. Its text says where, what was found, and the mend."""

    def __init__(
        self, path: Path, row: int | None, column: str | None, what: str, mend: str
    ) -> None:
        where = [str(path)]
        where += [f"row {row}"] if row is not None else []
        where += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(where)}: {what}; {mend}")
        self.path = path
        self.row = row
        self.column = column
        self.what = what
        self.mend = mend


class Packing(StrEnum):
    """How the content of a file is packed, told by its first bytes."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZIP = "zip"
    PARQUET = "parquet"


_MAGIC: Final = {b"\x1f\x8b": Packing.GZIP, b"PK": Packing.ZIP, b"PAR1": Packing.PARQUET}


def packing_of(path: Path) -> Packing:
    """Tell how a file is packed. Raises `CandleFileError` for what cannot be read."""
    with _readable(path), path.open("rb") as file:
        head = file.read(4)
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), Packing.PLAIN)
    if path.name.endswith(".gz") and found is not Packing.GZIP:
        mend = "gzip it, or take .gz off its name"
        raise CandleFileError(path, None, None, "the content is not gzip", mend)
    return found


def texts(path: Path, packing: Packing) -> Iterator[tuple[Path, Iterator[bytes]]]:
    """Yield each text in a file as its name (for messages) and its blocks of whole lines.

    A zip has one text for each CSV or JSON member. Read a text's blocks before taking the next one.
    Raises `CandleFileError` here and from the blocks.
    """
    with _readable(path):
        bound = _Bound(path)
        if packing is Packing.ZIP:
            yield from _members(path, bound)
            return
        with gzip.open(path) if packing is Packing.GZIP else path.open("rb") as file:
            yield path, _blocks(path, file, bound)


class _Bound:
    """Counts what a file unpacks to, and refuses a bomb."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = max(_FREE, _MOST_PACKED * path.stat().st_size)

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            what = f"it unpacks to more than {_MOST_PACKED} times its size"
            raise CandleFileError(
                self._path, None, None, what, "unpack it yourself if you trust it"
            )


def _members(path: Path, bound: _Bound) -> Iterator[tuple[Path, Iterator[bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        what = f"broken zip archive: {error}"
        raise CandleFileError(path, None, None, what, "fetch the file again") from None
    with archive:
        names = [name for name in archive.namelist() if _is_candles(name)]
        if not names:
            what = "the zip archive has no CSV or JSON file in it"
            raise CandleFileError(path, None, None, what, "give an archive of candle files")
        for name in names:
            with _readable(path), archive.open(name) as member:
                yield path / name, _blocks(path / name, member, bound)


def _is_candles(name: str) -> bool:
    """Whether a zip member is data; macOS adds files of its own beside them."""
    return name.lower().endswith((".csv", ".json", ".txt")) and not name.startswith("__MACOSX/")


def _blocks(label: Path, stream: IO[bytes] | gzip.GzipFile, bound: _Bound) -> Iterator[bytes]:
    rest = b""
    with _readable(label):
        while block := stream.read(_BLOCK):
            bound.take(len(block))
            lines, _, rest = (rest + block).rpartition(b"\n")
            if len(rest) > _LONGEST_LINE and not _is_json(lines or rest):
                what = f"a line is longer than {_LONGEST_LINE} bytes"
                raise CandleFileError(label, None, None, what, "give a CSV file with a row a line")
            if lines:
                yield lines
        if rest:
            yield rest


def _is_json(data: bytes) -> bool:
    return data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the system and the packers say into an error that names the file and the mend."""
    try:
        yield
    except FileNotFoundError:
        raise CandleFileError(path, None, None, "no such file", "check the path") from None
    except IsADirectoryError:
        raise CandleFileError(path, None, None, "this is a directory", "name one file") from None
    except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        kind = "zip" if isinstance(error, zipfile.BadZipFile | RuntimeError) else "gzip"
        what = f"broken {kind}: {error}"
        raise CandleFileError(path, None, None, what, "fetch the file again") from None
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise CandleFileError(path, None, None, what, "check its permissions") from None
