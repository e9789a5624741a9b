"""Certificates for tests, made with openssl: an authority, and what it signs.

Tests that need them skip where there is no openssl.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_OPENSSL = shutil.which("openssl")

needs_openssl = pytest.mark.skipif(
    _OPENSSL is None, reason="no openssl here: apt-get install openssl"
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; `ca` is what makes others trust them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl(
            "req", "-x509", *_NEW_KEY, self._own.key, "-out", self._own.cert, "-days", "2",
            "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    @property
    def ca(self) -> Path:
        """The authority's own certificate."""
        return self._own.cert

    def sign(self, name: str, alternative: str = "IP:127.0.0.1", days: int = 1) -> Pair:
        """Return a new certificate for `alternative`; expired for `days` below 1."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, names = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        _openssl("req", "-new", *_NEW_KEY, pair.key, "-out", request, "-subj", f"/CN={name}")
        names.write_text(f"subjectAltName={alternative}\n")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self._own.cert, "-CAkey", self._own.key,
            "-CAcreateserial", "-out", pair.cert, "-days", str(days), "-extfile", names,
        )  # fmt: skip
        return pair


_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]


def _openssl(*arguments: object) -> None:
    command = [str(_OPENSSL), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
