"""What one value of the configuration may be; each refuses in words what it may not. Pure."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from candled.core.bar import Interval
from candled.core.regime import regime_rule

#: What a place of a secret begins with when it is not a file's path; see `candled.secret`.
CREDENTIAL: Final = "credential:"
_NO_PORT: Final = 65_536


def interval_name(name: str) -> str:
    """Take the name of an interval, as Binance spells it."""
    return Interval(name).name


def regime_preset(preset: str) -> str:
    """Take the name of a preset of the regime machine."""
    regime_rule(preset)
    return preset


def no_wildcards(topic: str) -> str:
    """Take a topic without wildcards."""
    if not topic or set(topic) & set("+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
        raise ValueError("must be a plain topic such as 'candled', without +, # or outer slashes")
    return topic


def topic_level(name: str) -> str:
    """Take one level of a topic."""
    if not name or set(name) & set("+#/\0 "):
        raise ValueError("must be one word without spaces, slashes, + or #")
    return name


def _secret_place(path: Path) -> Path:
    """Refuse a credential whose name could not be one of systemd's."""
    name = str(path).removeprefix(CREDENTIAL)
    if is_credential(path) and (name in ("", ".", "..") or set(name) & set("/: \0")):
        raise ValueError(f"must be a file's path or {CREDENTIAL}NAME, with a name as systemd's")
    return path


def is_credential(path: Path) -> bool:
    """Whether this names a credential of systemd, not a file."""
    return str(path).startswith(CREDENTIAL)


#: A file that holds a secret, or ``credential:NAME``.
SecretPlace = Annotated[Path, Field(strict=False), AfterValidator(_secret_place)]


def exchange_name(name: str) -> str:
    """Take the name of an exchange, a level of topics."""
    if name == "check":
        raise ValueError("must not be 'check': its topics would be those of `candled check`")
    return topic_level(name)


def mqtt_url(url: str) -> str:
    """Take the address of a broker."""
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
    if parts.username or parts.password:
        raise ValueError("must not hold a name or password; use username and password_file")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end after the port")
    _ = parts.port  # raises ValueError for a port that is none
    return url


def web_address(address: str) -> str:
    """Take an address and port on loopback, or nothing."""
    if not address:
        return address
    host, port = split_address(address)
    if port is None or not (host == "localhost" or _is_loopback(host)):
        raise ValueError(
            'must be a port on this machine\'s loopback, e.g. 127.0.0.1:8780, or "" for none; to '
            "look from elsewhere use ssh -L or a reverse proxy: docs/page.md"
        )
    return address


def split_address(address: str) -> tuple[str, int | None]:
    """Split HOST:PORT, where an IPv6 host has brackets; the port is None where it is none."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return host, None
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else _NO_PORT
    return host, number if number < _NO_PORT else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def pair_name(name: str) -> str:
    """Take a pair as Hummingbot spells it."""
    if not re.fullmatch(r"[A-Za-z0-9.]+-[A-Za-z0-9.]+", name):
        raise ValueError("must be a pair as Hummingbot names it, e.g. BTC-USDT")
    return name


def public_key(text: str) -> str:
    """Take an ed25519 public key."""
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", text):
        raise ValueError("must be a public key as `candled keys show --key-file FILE` prints it")
    return text


def order_url(url: str) -> str:
    """Take the address that orders are sent to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must look like https://host/path")
    if parts.username or parts.password:
        raise ValueError("must not hold a name or password; use username and password_file")
    if parts.fragment:
        raise ValueError("must not hold a fragment (#...)")
    _ = parts.port  # raises ValueError for a port that is none
    return url


def websocket_base(url: str) -> str:
    """Take the beginning of a venue's websocket addresses."""
    return _base(url, "ws", "wss")


def rest_base(url: str) -> str:
    """Take the beginning of a venue's REST addresses."""
    return _base(url, "http", "https")


def _base(url: str, *schemes: str) -> str:
    """Refuse what is not the beginning of a venue's addresses."""
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"must look like {schemes[1]}://host or {schemes[0]}://127.0.0.1:8080")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    _ = parts.port  # raises ValueError for a port that is none
    return url
