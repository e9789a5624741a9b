"""Who may ask: whoever names this machine by a name of loopback, and no page of another site. Pure.

A page that the user's browser has open elsewhere must not read this: by a name that its owner
points to 127.0.0.1 (DNS rebinding, which the Host header gives away), or by a websocket, which no
same-origin policy holds (which the Origin header gives away).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\s]+))(?::\d{1,5})?", re.IGNORECASE)


def is_loopback(name: str) -> bool:
    """Whether a host's name or address, without brackets, is this machine as only it sees it."""
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name.lower() == "localhost"


def host_problem(hosts: Sequence[str]) -> str | None:
    """Return why a request with these Host headers is refused, else None."""
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found and is_loopback(found[1] or found[2]):
        return None
    return "ask by a name of loopback: 127.0.0.1, [::1] or localhost"


def origin_problem(origins: Sequence[str], host: str) -> str | None:
    """Return why a websocket with these Origin headers is refused by `host`, else None.

    Programs that are no browsers send none.
    """
    own = (f"http://{host}".lower(), f"https://{host}".lower())
    if all(origin.lower() in own for origin in origins[:1]) and len(origins) < 2:  # noqa: PLR2004
        return None
    return "pages of other sites may not look on"
