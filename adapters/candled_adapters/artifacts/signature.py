"""signature.json: who vouches for a bundle.

What is signed is the manifest's digest, which seals every part. The file lies beside the manifest
and is no part of it, so that a bundle can be signed after it was tested, without changing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from candled_adapters.artifacts.manifest import BundleError, read_file
from candled_adapters.protocol.signing import BUNDLE, Signer, Verifier

SIGNATURE_FILE: Final = "signature.json"
_SCHEMA: Final = "candled.bundle-signature/1"
_LARGEST: Final = 4_096
_MEND: Final = "if it is yours, sign it with `candled model sign`; else do not use it"


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: str
    key: str
    sig: str


def write_signature(folder: Path, digest: str, signer: Signer) -> None:
    """Sign a bundle by its manifest's digest; an older signature is replaced in one step."""
    said = _Signature(_SCHEMA, signer.id, signer.sign(BUNDLE, digest.encode()))
    draft = folder / f".{SIGNATURE_FILE}.new"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(said), indent=1))
    draft.replace(folder / SIGNATURE_FILE)


def check_signature(folder: Path, digest: str, trusted: Verifier) -> None:
    """Raise BundleError unless somebody trusted has signed this digest."""
    file = folder / SIGNATURE_FILE
    if not file.exists():
        raise BundleError(folder, f"is not signed (no {SIGNATURE_FILE})", _MEND)
    try:
        said = msgspec.json.decode(read_file(file, _LARGEST), type=_Signature)
    except (ValueError, RecursionError) as error:
        raise BundleError(file, f"cannot be read: {error}", _MEND) from error
    if said.schema != _SCHEMA:
        raise BundleError(file, f"has schema {said.schema!r}, this version reads {_SCHEMA!r}")
    if problem := trusted.check(BUNDLE, [digest.encode()], said.sig, said.key):
        raise BundleError(folder, problem, _MEND)
