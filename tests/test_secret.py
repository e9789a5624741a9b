"""Secrets come from files or systemd's credentials, and are never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.config import ConfigError, load_config
from candled.secret import exposure, read_secret

KEY = "mqtt.password_file"
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that systemd would pass."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


@given(TEXT, st.sampled_from(["", "\n", "\r\n"]))
def test_a_secret_is_the_content_without_one_line_end(tmp_path_factory, text, end):
    """What stands before it is kept to the letter, spaces and further lines included."""
    file = tmp_path_factory.mktemp("secret") / "file"
    file.write_bytes(f"{text}.{end}".encode())
    assert read_secret(KEY, file) == f"{text}."


def test_a_credential_is_read_from_the_folder_that_systemd_names(credentials: Path):
    """As a path or a text."""
    (credentials / "broker").write_text("horse\n")
    assert read_secret(KEY, "credential:broker") == "horse"
    assert read_secret(KEY, Path("credential:broker")) == "horse"


def test_a_credential_that_was_not_passed_is_told_with_the_line_that_passes_it(credentials: Path):
    """The unit's line is the mend."""
    said = rf"{credentials}/broker.*\n  {KEY}: no such credential; add LoadCredential=broker:"
    with pytest.raises(ConfigError, match=said):
        read_secret(KEY, "credential:broker")


def test_without_systemd_there_are_no_credentials(monkeypatch: pytest.MonkeyPatch):
    """Said with both ways out."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    said = rf"{KEY}: there is no .CREDENTIALS_DIRECTORY; .*LoadCredential=broker:.*or name a file"
    with pytest.raises(ConfigError, match=said):
        read_secret(KEY, "credential:broker")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", r"is not UTF-8 text .byte 7."),
        (b"hunter2" * 10_000, "is larger than 65536 bytes"),
        (None, "cannot be read: no such file"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(tmp_path: Path, content, said):
    """File, key and reason are named; nothing of the content is."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_secret(KEY, file)
    assert str(file) in str(caught.value)
    assert f"  {KEY}: " in str(caught.value)
    shown = [caught.value, caught.value.__cause__]
    assert "hunter" not in repr(shown) + str(shown)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    """Only a plain file holds a secret."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be read: is not a file"):
        read_secret(KEY, tmp_path / "pipe")


@pytest.mark.parametrize(
    ("mode", "who"),
    [
        (0o600, None),
        (0o400, None),
        (0o640, None),
        (0o644, "everyone on this machine may read"),
        (0o666, "everyone on this machine may change"),
        (0o602, "everyone on this machine may change"),
        (0o660, "its group may change"),
    ],
)
def test_a_secret_that_others_may_read_is_told(tmp_path: Path, mode, who):
    """The service's group may read it, nobody else, and nobody else may change it."""
    file = tmp_path / "secret"
    file.write_text("horse")
    file.chmod(mode)
    said = exposure(KEY, file)
    assert said == (who and f"{KEY}: {who} {file} (mode {mode:o}): chmod 600 {file}")


LEAST = """
[mqtt]
password_file = "{place}"
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "models/BTCUSDT_1h"
"""


def test_a_credential_in_the_configuration_is_not_a_path(tmp_path: Path):
    """It is not looked for beside the file."""
    file = tmp_path / "config.toml"
    file.write_text(LEAST.format(place="credential:broker"))
    assert load_config(file).mqtt.password_file == Path("credential:broker")


@pytest.mark.parametrize("name", ["", "..", "a/b", "../key", "a:b"])
def test_a_credentials_name_is_one_of_systemds(tmp_path: Path, name):
    """It cannot lead out of the folder of credentials."""
    file = tmp_path / "config.toml"
    file.write_text(LEAST.format(place=f"credential:{name}"))
    with pytest.raises(ConfigError, match=r"mqtt.password_file: must be a file's path or cred"):
        load_config(file)
