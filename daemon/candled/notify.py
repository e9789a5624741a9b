"""Tells systemd what the service is doing; does nothing when nobody asked.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

_PATIENCE_S: Final = 1.0


def notify(message: str) -> None:
    """Send e.g. ``READY=1`` to the socket that systemd named, if any.

    A socket where nobody listens is no reason to stop: the name may be inherited from a service
    long gone, and systemd itself ends a service that it has not heard from.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_PATIENCE_S)
        with contextlib.suppress(OSError):
            channel.sendto(message.encode(), address)
