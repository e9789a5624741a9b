"""Tells systemd what the service is doing; does nothing when nobody asked.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

_PATIENCE_S: Final = 1.0


def mention(message: str) -> None:
    """Send what is soon said again, without waiting."""
    notify(message, 0.0)


def notify(message: str, patience_s: float = _PATIENCE_S) -> None:
    """Send e.g. ``READY=1`` to the socket that systemd named, if any.

    Waits so long (s) where systemd is behind with reading; then nothing is said.

    A socket where nobody listens is no reason to stop: the name may be inherited from a service
    long gone, and systemd itself ends a service that it has not heard from.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(patience_s)
        with contextlib.suppress(OSError):
            channel.sendto(message.encode(), address)
