"""The way to the broker: its name, a socket, TLS; each bounded in time, each failure explained.

Nothing is known here of MQTT. What blocks is meant for a thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from candled_adapters.sinks.mqtt_messages import MqttSettings
from candled_adapters.sinks.mqtt_wire import LinkError

Address = tuple[int, Any]  # family, and what `connect` takes
_TRUST: Final = "set mqtt.ca_file to the certificate of the authority that signed the broker's"
_CERTIFICATE: Final = {  # X509_V_ERR_*
    9: "its certificate is not valid yet: set this machine's clock, or have a new one made",
    10: "its certificate has expired: have a new one made for the broker, or set our clock",
    18: _TRUST,
    19: _TRUST,
    20: _TRUST,
    21: _TRUST,
    62: "its certificate is for another name: give mqtt.url the name that the certificate has",
    64: "its certificate is for another address: give mqtt.url the name that the certificate has",
}
_OURS: Final = "it does not accept our certificate: see mqtt.cert_file"
_ASKS: Final = "it asks for a client certificate: set mqtt.cert_file and mqtt.key_file"
_NO_TLS: Final = "if it speaks no TLS, write mqtt:// instead of mqtts:// in mqtt.url"
_ALERTS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _ASKS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _ASKS,
    "TLSV1_ALERT_UNKNOWN_CA": _OURS,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OURS,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired: renew mqtt.cert_file",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our certificate was revoked: renew mqtt.cert_file",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks another version of TLS: update the broker",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": _NO_TLS,
}


_OF_THE_WAY: Final[dict[type[BaseException], str]] = {
    socket.gaierror: "its name is not known: correct mqtt.url",
    ConnectionRefusedError: "nobody listens there: start the broker, or correct mqtt.url",
    ConnectionResetError: f"it hung up: {_NO_TLS}",  # in the handshake: else nobody has spoken yet
    TimeoutError: "no answer in time",
}


async def find(host: str, port: int, patience: float) -> list[Address]:
    """Return the broker's addresses; raises OSError, TimeoutError after `patience` seconds.

    The system's resolver may take half a minute, and nothing can stop it. It gets a thread of its
    own that nobody waits for, not even the end of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def settle(found: list[Address] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look() -> None:
        found: list[Address] | OSError
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [(family, address) for family, _, _, _, address in infos]
        except OSError as error:
            found = error
        with suppress(RuntimeError):  # the loop has gone without us
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=look, daemon=True, name="candled-resolver").start()
    async with asyncio.timeout(patience):
        return await answer


def connect(
    settings: MqttSettings, addresses: Sequence[Address], note: Callable[[socket.socket], None]
) -> socket.socket:
    """Return a connected socket, with TLS where that is configured. Blocks; bounded in time.

    The addresses share the publish timeout; the handshake has it once more. `note` is told each
    socket before it waits, so that another thread can shut it down. Raises OSError and LinkError.
    """
    context = tls_context(settings) if settings.tls else None
    plain = _first_answer(addresses, settings.publish_timeout, note)
    if context is None:
        return plain
    secure = context.wrap_socket(
        plain, server_hostname=settings.host, do_handshake_on_connect=False
    )
    try:
        note(secure)
        secure.settimeout(settings.publish_timeout)
        secure.do_handshake()
    except BaseException:
        secure.close()
        raise
    return secure


def _first_answer(
    addresses: Sequence[Address], patience: float, note: Callable[[socket.socket], None]
) -> socket.socket:
    end, failure = time.monotonic() + patience, OSError("it has no address")
    for index, (family, address) in enumerate(addresses):
        left = max(0.05, end - time.monotonic()) / (len(addresses) - index)
        there = socket.socket(family, socket.SOCK_STREAM)
        try:
            note(there)
            there.settimeout(left)
            there.connect(address)
        except OSError as error:
            there.close()
            failure = error
        else:
            return there
    raise failure


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Return what TLS goes by; raises LinkError that names the key of a file that does not do."""
    key = "mqtt.ca_file"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        key = "mqtt.cert_file or mqtt.key_file"
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file, _no_passphrase)
    except (OSError, ValueError) as error:
        files = [settings.ca_file] if key == "mqtt.ca_file" else []
        files = files or [settings.cert_file, settings.key_file]
        names = " and ".join(file for file in files if file)
        text = f"{key}: cannot use {names}: {_file_trouble(error)}"
        raise LinkError(text) from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; candled takes keys without, readable by it alone")


def _file_trouble(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or error}; it must be a PEM file"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def explain(error: BaseException) -> str:
    """Return what stood in the way, and the mend where one is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        mend = _CERTIFICATE.get(error.verify_code, "see mqtt.ca_file")
        return f"certificate verify failed ({error.verify_message}): {mend}"
    if isinstance(error, ssl.SSLError):
        mend = _ALERTS.get(error.reason or "", "")
        return f"TLS failed ({error.reason or error})" + (f": {mend}" if mend else "")
    for kind, text in _OF_THE_WAY.items():
        if isinstance(error, kind):
            return text
    return str(error)
