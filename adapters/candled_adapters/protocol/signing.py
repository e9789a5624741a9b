"""Signatures: who may say something, proved by ed25519 keys. For both ends, and for bundles.

What is signed begins with what it is for, and tells each part's length, so that no signature fits
another topic, another payload, or a bundle. A message carries its signature and the id of its key
as MQTT 5 user properties ``sig`` and ``key``. A signature says who and what, not when: an old
message that is played again is old by its `seq`, `id`, `valid_until` or `updated_at`.

Keys are text: a public one is the base64 of its 32 bytes, its id the first 16 hex digits of their
sha256. `cryptography` (extra `signing`) is imported when the first key is used, not before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

MESSAGE: Final = "candled.message/1"
BUNDLE: Final = "candled.bundle/1"
SIGNATURE: Final = "sig"
KEY: Final = "key"

_BYTES: Final = 32  # of a key, private or public
_MOST: Final = 10_000  # bytes of a key file; an ed25519 PEM has 119
_TOO_OPEN: Final = 0o027  # systemd's credentials may be read by the group, and by nobody else
_PEM: Final = b"-----BEGIN"


class SigningError(ValueError):
    """A key that cannot be used; the text says which and how to mend it."""


def key_id(public: bytes) -> str:
    """Return the short name of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def framed(purpose: str, parts: Iterable[bytes]) -> bytes:
    """Return the bytes that are signed: what for, and each part behind its length."""
    texts = (purpose.encode(), *parts)
    return b"".join(len(text).to_bytes(8) + text for text in texts)


class Signer:
    """Signs with one private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a private key: PEM, or the base64 of its 32 bytes. Raises SigningError.

        A file that others may read, or its group may write, is refused.
        """
        _need_cryptography()
        text = _read_private(path)
        try:
            return cls(_from_pem(text) if text.startswith(_PEM) else _from_raw(text))
        except ValueError as error:
            raise SigningError(
                f"{path}: is not an ed25519 private key ({error}); "
                "make one with `candled keys make --out FILE`"
            ) from error

    @cached_property
    def public_key(self) -> str:
        """The text that others trust us by."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    @cached_property
    def id(self) -> str:
        """The short name of the key."""
        return key_id(self._key.public_key().public_bytes_raw())

    def sign(self, purpose: str, *parts: bytes) -> str:
        """Return a signature as text, without padding."""
        return _text(self._key.sign(framed(purpose, parts)))

    def properties(self, topic: str, payload: bytes) -> tuple[tuple[str, str], ...]:
        """Return the user properties that prove a message."""
        said = self.sign(MESSAGE, topic.encode(), payload)
        return ((SIGNATURE, said), (KEY, self.id))


class Verifier:
    """Knows whom to trust."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def trusting(cls, public_keys: Iterable[str]) -> Self:
        """Trust these keys, each the base64 of its 32 bytes; raises SigningError."""
        _need_cryptography()
        raw = [_public_bytes(text) for text in public_keys]
        return cls({key_id(key): _public(key) for key in raw})

    def check(self, purpose: str, parts: Iterable[bytes], signature: str, key: str) -> str | None:
        """Return what is wrong with a signature, or None."""
        trusted = self._keys.get(key)
        if trusted is None:
            known = ", ".join(sorted(self._keys)) or "none"
            return f"is signed with key {key[:64]!r}, which is not trusted (trusted: {known})"
        if not _fits(trusted, signature, framed(purpose, parts)):
            return f"does not fit its signature by key {key}"
        return None

    def problem(self, topic: str, payload: bytes, properties: Mapping[str, str]) -> str | None:
        """Return why a message must not be believed, or None. Never raises."""
        if SIGNATURE not in properties or KEY not in properties:
            return "is not signed"
        parts = (topic.encode(errors="surrogatepass"), payload)
        return self.check(MESSAGE, parts, properties[SIGNATURE], properties[KEY])


def make_key(path: Path) -> Signer:
    """Write a new private key (PEM, mode 0600) to `path`, which must not exist; OSError if not."""
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra

    private = ed25519.Ed25519PrivateKey.generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(
            f"{path} is there already, and a key is never replaced; name another file"
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(_pem(private))
    return Signer(private)


def _pem(private: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 - an extra

    plain = form.NoEncryption()
    return private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain)


def _from_pem(text: bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra

    try:
        key = form.load_pem_private_key(text, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:  # a password is asked for, say
        raise ValueError(str(error)) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ValueError(f"it is a {type(key).__name__.removeprefix('_')}")  # noqa: TRY004
    return key


def _from_raw(text: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra

    return ed25519.Ed25519PrivateKey.from_private_bytes(_decoded(text.strip()))


def _public_bytes(text: str) -> bytes:
    try:
        return _decoded(text.encode())
    except ValueError as error:
        raise SigningError(
            f"{text[:64]!r} is not an ed25519 public key ({error}); "
            "`candled keys show --key-file FILE` prints one"
        ) from error


def _public(raw: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra

    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def _decoded(text: bytes) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("it is neither PEM nor base64") from error
    if len(raw) != _BYTES:
        raise ValueError(f"it has {len(raw)} bytes, not {_BYTES}")
    return raw


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MOST)
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & _TOO_OPEN:
        raise SigningError(f"{path}: others may use this private key; chmod 600 {path}")
    return text


def _fits(key: Ed25519PublicKey, signature: str, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    try:
        key.verify(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _need_cryptography() -> None:
    """Raise SigningError where what makes signatures is not installed."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise SigningError(
            "signatures need cryptography, which is not installed; pip install 'candled[signing]'"
        ) from error
