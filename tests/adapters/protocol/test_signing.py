"""Signatures prove who said what on which topic, for which purpose; nothing else passes."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.protocol.signing import (
    BUNDLE,
    MESSAGE,
    Signer,
    SigningError,
    Verifier,
    framed,
    make_key,
)

OURS = Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
VERIFIER = Verifier.trusting([OURS.public_key])

words = st.text(min_size=1, max_size=40)


def private(path: Path, text: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text)
    path.chmod(mode)
    return path


@given(words, st.binary(max_size=200))
def test_what_was_signed_is_believed_on_its_own_topic_only(topic: str, payload: bytes):
    """A signature proves one topic and one payload: moved or changed it proves nothing."""
    said = dict(OURS.properties(topic, payload))
    assert VERIFIER.problem(topic, payload, said) is None
    assert "does not fit" in str(VERIFIER.problem(topic + "x", payload, said))
    assert "does not fit" in str(VERIFIER.problem(topic, payload + b" ", said))


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_messages_are_the_same_bytes_to_sign(one: list[bytes], other: list[bytes]):
    """What ends where is part of what is signed: bytes cannot move from topic to payload."""
    assert (framed(MESSAGE, one) == framed(MESSAGE, other)) == (one == other)
    assert framed(MESSAGE, one) != framed(BUNDLE, one)


def test_a_signature_says_what_it_is_for():
    """A bundle's signature proves no message, though topic and payload were the same bytes."""
    moved = {"sig": OURS.sign(BUNDLE, b"t", b"p"), "key": OURS.id}
    assert "does not fit" in str(VERIFIER.problem("t", b"p", moved))


def test_who_is_not_trusted_is_named():
    """A good signature by another key is refused with the key and those that are trusted."""
    problem = str(VERIFIER.problem("t", b"p", dict(THEIRS.properties("t", b"p"))))
    assert THEIRS.id in problem
    assert OURS.id in problem
    forged = dict(THEIRS.properties("t", b"p")) | {"key": OURS.id}
    assert "does not fit" in str(VERIFIER.problem("t", b"p", forged))


@given(words, st.binary(max_size=50), st.dictionaries(st.sampled_from(["sig", "key"]), words))
def test_whatever_is_sent_as_a_signature_is_refused_quietly(
    topic: str, payload: bytes, properties: dict[str, str]
):
    """Hostile properties raise nothing and prove nothing, also under a trusted key's name."""
    assert VERIFIER.problem(topic, payload, properties) is not None
    known = properties | {"key": OURS.id}
    assert VERIFIER.problem(topic, payload, known) is not None
    assert VERIFIER.problem("\ud800", payload, known) is not None


def test_an_unsigned_message_is_not_believed():
    """Leaving the signature out helps nobody."""
    said = dict(OURS.properties("t", b"p"))
    for left_out in said:
        less = {name: value for name, value in said.items() if name != left_out}
        assert VERIFIER.problem("t", b"p", less) == "is not signed"


def test_a_made_key_can_be_read_by_its_owner_only_and_is_never_replaced(tmp_path: Path):
    """Mode 0600 whatever the umask, and a file that exists is left as it is."""
    before = os.umask(0)
    try:
        made = make_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert Signer.from_file(tmp_path / "key").public_key == made.public_key
    content = (tmp_path / "key").read_bytes()
    with pytest.raises(FileExistsError, match=r"is there already.*name another file"):
        make_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == content


def test_a_raw_key_is_read_as_well(tmp_path: Path):
    """The base64 of 32 bytes is a private key, with a line end or without."""
    for end in (b"", b"\n"):
        text = base64.b64encode(bytes(range(32))) + end
        assert Signer.from_file(private(tmp_path / "raw", text)).public_key == OURS.public_key


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666])
def test_a_private_key_that_others_can_use_is_refused(tmp_path: Path, mode: int):
    """With the mend; a group that may read it is allowed, as systemd's credentials need."""
    text = base64.b64encode(bytes(range(32)))
    with pytest.raises(SigningError, match=r"others may use.*chmod 600 .*/raw"):
        Signer.from_file(private(tmp_path / "raw", text, mode))
    assert Signer.from_file(private(tmp_path / "raw", text, 0o440)).id == OURS.id


def pem(key: object, secret: bytes | None = None) -> bytes:
    kind = form.BestAvailableEncryption(secret) if secret else form.NoEncryption()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, kind)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n",
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        b"\xff" * 44,
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(ed25519.Ed25519PrivateKey.generate(), b"a password"),
        OURS.public_key.encode() + b"!",
    ],
    ids=["empty", "pem", "short", "long", "binary", "ec", "locked", "base64"],
)
def test_what_is_no_private_key_is_named(tmp_path: Path, text: bytes):
    """Another kind of key, a locked one or nonsense: the file and the command that makes one."""
    with pytest.raises(SigningError, match=r"/bad: is not an ed25519 .*`candled keys make"):
        Signer.from_file(private(tmp_path / "bad", text))
    with pytest.raises(SigningError, match=r"/none: cannot be read: No such file"):
        Signer.from_file(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "x", OURS.public_key[:-4], "é" * 44, "A" * 5_000])
def test_what_is_no_public_key_is_named(text: str):
    """A trusted key that is none is refused with the command that prints one."""
    with pytest.raises(SigningError, match=r"is not an ed25519 public key .*candled keys show"):
        Verifier.trusting([text])


def test_cryptography_is_loaded_for_the_first_key_only():
    """Who imports the protocol and signs nothing needs no extra; who signs is told of it."""
    code = (
        "import sys; import candled_adapters.protocol.signing as s\n"
        "assert not any(name.startswith('cryptography') for name in sys.modules)\n"
        "sys.modules['cryptography'] = None\n"
        "import base64\n"
        "try: s.Verifier.trusting([base64.b64encode(bytes(32)).decode()])\n"
        "except s.SigningError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'candled[signing]'" in done.stdout


DOCUMENTED = (Path(__file__).parents[3] / "docs" / "signatures.md").read_text()


def test_the_documented_code_runs():
    """What a bot is told to write works as it stands."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENTED, re.DOTALL)
    names = {"topic": "t", "payload": b"p", "user_properties": {}}
    exec(code, names)  # noqa: S102 - our own page
    assert names["problem"] == "is not signed"


def test_the_documented_bytes_are_what_is_signed():
    """Who has only the page and an ed25519 library can verify."""
    said = dict(OURS.properties("candled/status", b"{}"))
    assert "`candled.message/1`" in DOCUMENTED
    parts = [b"candled.message/1", b"candled/status", b"{}"]
    data = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    public = base64.b64decode(OURS.public_key)
    assert said["key"] == hashlib.sha256(public).hexdigest()[:16]
    signature = base64.urlsafe_b64decode(said["sig"] + "==")
    ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
