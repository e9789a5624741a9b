"""Artifact files as bytes: reading them whole under a limit, undoing compression, and their error.

Knows nothing of what the bytes mean. Every way a file can be wrong ends in `ArtifactError`.
"""

from __future__ import annotations

import bz2
import lzma
import stat
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_LZMA_MEMORY: Final = 256 * 2**20  # what a dictionary may ask for; level 9 needs 65 MiB


class ArtifactError(ValueError):
    """A file that cannot be taken as it is: which, where, what was found, and the mend."""

    def __init__(self, path: str, offset: int | None, what: str, mend: str) -> None:
        place = path if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{place}: {what}. {mend}")
        self.path = path
        self.offset = offset
        self.what = what
        self.mend = mend


class Refused(Exception):  # noqa: N818 - a step says no; whoever knows the file makes it an error
    """Something in an artifact is not acceptable; raised where file and offset are not known."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = (
            mend or "Make the file again; if it is not from a notebook of yours, distrust it."
        )


def show(value: object) -> str:
    """Describe a value for a message, briefly, without walking into it."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value[:60] if isinstance(value, str) else value)[:80]
    return f"a {type(value).__name__}"


def read_file(path: Path, limit: int) -> bytes:
    """Return the whole of a regular file of at most `limit` bytes."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise ArtifactError(str(path), None, "is not a regular file", "Give a file.")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ArtifactError(
            str(path), None, "is missing", "Copy it from where the notebook saved it."
        ) from error
    except OSError as error:
        raise ArtifactError(
            str(path), None, f"cannot be read ({error.strerror})", "Check its permissions."
        ) from error
    return _within(limit, data, str(path), "is larger than")


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make a dict of a JSON object's members; two of one name are a ValueError."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object names the same key twice")
    return result


def inflate(raw: bytes, source: str, limit: int) -> bytes:
    """Undo joblib's compression, told by the first bytes; plain data comes back as it is.

    At most `limit` bytes are ever produced. joblib's prefixes:
    https://github.com/joblib/joblib/blob/main/joblib/compressor.py
    """
    for magic, name, opener in _KNOWN:
        if raw.startswith(magic):
            return _undo(raw, source, limit, name, opener)
    for magic, name in _UNREADABLE:
        if raw.startswith(magic):
            raise ArtifactError(
                source, 0, f"is compressed with {name}, which is not read here", _SAVE_AGAIN
            )
    return _within(limit, raw, source, "is larger than")


def _within(limit: int, data: bytes, source: str, problem: str) -> bytes:
    if len(data) > limit:
        mend = "No notebook file is that large."
        raise ArtifactError(source, None, f"{problem} {limit} bytes", mend)
    return data


_SAVE_AGAIN: Final = "Save it again with joblib.dump(object, file) and no compress argument."

#: Takes compressed bytes and the most to produce; returns data, whether the stream ended, the rest.
_Opener = Callable[[bytes, int], tuple[bytes, bool, bytes]]


def _undo(raw: bytes, source: str, limit: int, name: str, opener: _Opener) -> bytes:
    try:
        data, ended, rest = opener(raw, limit + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise ArtifactError(
            source, None, f"is broken {name} data ({error})", _SAVE_AGAIN
        ) from error
    _within(limit, data, source, "unpacks to more than")
    if not ended or rest:
        what = "has bytes after the" if ended else "stops before the end of the"
        raise ArtifactError(source, None, f"{what} {name} data", _SAVE_AGAIN)
    return data


def _zlib(raw: bytes, most: int) -> tuple[bytes, bool, bytes]:
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: zlib or gzip, whichever header is there
    return stream.decompress(raw, most), stream.eof, stream.unused_data


def _bz2(raw: bytes, most: int) -> tuple[bytes, bool, bytes]:
    stream = bz2.BZ2Decompressor()
    return stream.decompress(raw, most), stream.eof, stream.unused_data


def _lzma(raw: bytes, most: int) -> tuple[bytes, bool, bytes]:
    stream = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    return stream.decompress(raw, most), stream.eof, stream.unused_data


_KNOWN: Final[tuple[tuple[bytes, str, _Opener], ...]] = (
    (b"\x78", "zlib", _zlib),
    (b"\x1f\x8b", "gzip", _zlib),
    (b"BZ", "bz2", _bz2),
    (b"\x5d\x00", "lzma", _lzma),
    (b"\xfd7zXZ", "xz", _lzma),
)
_UNREADABLE: Final = (
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"ZF", "the zlib form of joblib before 0.10"),
)
