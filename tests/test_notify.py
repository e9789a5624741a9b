"""systemd is told through the socket it named; nobody else is, and nothing fails for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from candled.notify import notify


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Make a datagram socket as systemd's, not bound yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        yield channel


def test_a_message_reaches_the_named_socket(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each message is one datagram on the socket in NOTIFY_SOCKET."""
    listener.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notify("READY=1")
    notify("STOPPING=1")
    assert [listener.recv(100), listener.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_an_abstract_socket_is_reached(listener: socket.socket, monkeypatch: pytest.MonkeyPatch):
    """A name that begins with @ is an abstract socket, as in containers."""
    name = f"candled-test-{os.getpid()}"
    listener.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    notify("READY=1")
    assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "x" * 300])
def test_without_a_listener_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None):
    """No socket, or one that nobody serves any more, does not stop the daemon."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_a_listener_that_is_gone_is_no_failure(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A socket whose owner has closed it refuses; the daemon goes on."""
    listener.bind(str(tmp_path / "notify"))
    listener.close()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notify("READY=1")
