"""A bundle is believed when somebody trusted has signed exactly it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from candled.config import ConfigError, load_config
from candled.lineup import load_lanes
from candled.outlets import mqtt_settings
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from candled_adapters.artifacts.manifest import BundleError
from candled_adapters.artifacts.signature import SIGNATURE_FILE, write_signature
from candled_adapters.protocol.signing import MESSAGE, Signer, Verifier, make_key
from models import bundle, changed

OURS = Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
TRUSTED = Verifier.trusting([OURS.public_key])


def signed(folder: Path, signer: Signer = OURS) -> Path:
    """Put a signed bundle into a new folder."""
    bundle(folder)
    write_signature(folder, load_bundle(folder).manifest.digest, signer)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder, TRUSTED)
    return str(caught.value)


def test_a_bundle_that_a_trusted_key_has_signed_is_loaded(tmp_path: Path):
    """And the signature is no part of it: the bundle is what it was before."""
    folder = signed(tmp_path / "b")
    assert load_bundle(folder, TRUSTED).manifest.digest == load_bundle(folder).manifest.digest


def test_a_bundle_that_nobody_trusted_has_signed_is_refused(tmp_path: Path):
    """Unsigned, by a stranger, or by one under our name: each is told with the mend."""
    mend = "if it is yours, sign it with `candled model sign`"
    assert f"is not signed (no {SIGNATURE_FILE}); {mend}" in refused(bundle(tmp_path / "bare"))
    strange = signed(tmp_path / "strange", THEIRS)
    assert f"is signed with key '{THEIRS.id}', which is not trusted" in refused(strange)
    said = json.loads((strange / SIGNATURE_FILE).read_text())
    (strange / SIGNATURE_FILE).write_text(json.dumps(said | {"key": OURS.id}))
    assert "does not fit its signature" in refused(strange)


def test_another_bundles_signature_does_not_fit(tmp_path: Path):
    """A signature is of one digest, so it cannot be put beside another model."""
    folder = signed(tmp_path / "b")
    other = write_bundle(changed(threshold=0.01), tmp_path / "other").path
    (other / SIGNATURE_FILE).write_bytes((folder / SIGNATURE_FILE).read_bytes())
    assert "does not fit its signature" in refused(other)


@pytest.mark.parametrize("part", ["manifest.json", "model.ubj", "golden.json"])
def test_any_change_after_signing_is_refused(tmp_path: Path, part: str):
    """One byte of any part is enough."""
    folder = signed(tmp_path / "b")
    content = bytearray((folder / part).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / part).write_bytes(content)
    refused(folder)


def test_who_signed_is_asked_before_the_parts_are_read(tmp_path: Path):
    """A stranger's model never reaches a parser: the signature's problem comes first."""
    folder = signed(tmp_path / "b", THEIRS)
    (folder / "model.ubj").unlink()
    (folder / "golden.json").write_text("{")
    assert "not trusted" in refused(folder)


def test_a_signature_for_another_purpose_does_not_fit(tmp_path: Path):
    """What a daemon signs on MQTT can never be made into a bundle's signature."""
    folder = signed(tmp_path / "b")
    digest = load_bundle(folder).manifest.digest.encode()
    said = json.loads((folder / SIGNATURE_FILE).read_text()) | {"sig": OURS.sign(MESSAGE, digest)}
    (folder / SIGNATURE_FILE).write_text(json.dumps(said))
    assert "does not fit its signature" in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", '{"schema":"x","key":"k","sig":"s"}'])
def test_a_signature_that_cannot_be_read_is_named(tmp_path: Path, text: str):
    """With its file."""
    folder = signed(tmp_path / "b")
    (folder / SIGNATURE_FILE).write_text(text, encoding="latin-1")
    assert str(folder / SIGNATURE_FILE) in refused(folder)


def test_a_new_bundle_takes_the_place_of_a_signed_one_without_its_signature(tmp_path: Path):
    """Training again over a signed bundle works, and what comes out is not signed."""
    folder = signed(tmp_path / "b")
    write_bundle(changed(threshold=0.5), folder)
    assert "is not signed" in refused(folder)


def candled(*words: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "candled", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_keys_and_signatures_are_made_and_checked_by_commands(tmp_path: Path):
    """Make, show, sign, check: and what does not fit ends with code 78 and the reason."""
    folder, key = bundle(tmp_path / "b"), tmp_path / "key"
    code, said = candled("keys", "make", "--out", key)
    public = said.splitlines()[-1]
    assert (code, candled("keys", "show", "--key-file", key)) == (0, (0, public + "\n"))
    assert candled("keys", "make", "--out", key)[0] == 65
    code, said = candled("model", "check", folder, "--trusted-key", public)
    assert (code, "is not signed" in said) == (78, True)
    code, said = candled("model", "sign", folder, "--key-file", key)
    assert (code, public in said) == (0, True)
    code, said = candled("model", "check", folder, "--trusted-key", public)
    assert (code, "the signature is trusted" in said) == (0, True), said
    code, said = candled("model", "check", folder, "--trusted-key", OURS.public_key)
    assert (code, "is not trusted" in said) == (78, True)
    code, said = candled("model", "sign", folder, "--key-file", tmp_path / "none")
    assert (code, "cannot be read" in said) == (78, True)


def test_a_daemon_that_trusts_keys_runs_no_other_bundle(tmp_path: Path):
    """[models] trusted_keys is asked of every bundle, and each that fails is told."""
    signed(tmp_path / "b")
    bundle(tmp_path / "bare")
    config = """
[models]
trusted_keys = ["{key}"]
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "{folder}"
"""
    file = tmp_path / "config.toml"
    file.write_text(config.format(key=OURS.public_key, folder="b"))
    assert len(load_lanes(load_config(file), file)) == 1
    for key, folder, problem in [
        (OURS.public_key, "bare", "bundle .*/bare: is not signed"),
        (THEIRS.public_key, "b", "bundle .*/b: is signed with key .* not trusted"),
    ]:
        file.write_text(config.format(key=key, folder=folder))
        with pytest.raises(ConfigError, match=problem):
            load_lanes(load_config(file), file)


def test_a_daemon_signs_with_the_key_that_is_configured_or_says_why_not(tmp_path: Path):
    """mqtt.signing_key_file is relative to the file, and what is wrong with it names the key."""
    make_key(tmp_path / "key")
    file = tmp_path / "config.toml"
    text = '[mqtt]\nsigning_key_file = "{}"\n[exchanges.binance]\ndialect = "binance-spot"\n'
    text += '[[streams]]\nexchange = "binance"\nsymbols = ["A"]\ninterval = "1h"\nbundle = "b"\n'
    file.write_text(text.format("key"))
    sign = mqtt_settings(load_config(file)).sign
    trusted = Verifier.trusting([Signer.from_file(tmp_path / "key").public_key])
    assert sign is not None
    assert trusted.problem("t", b"p", dict(sign("t", b"p"))) is None
    file.write_text(text.format("none"))
    with pytest.raises(ConfigError, match=r"mqtt.signing_key_file: .*/none: cannot be read"):
        mqtt_settings(load_config(file))
