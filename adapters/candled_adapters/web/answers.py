"""Answers over HTTP: what every one of them forbids a browser, and JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Response

JSON: Final = "application/json; charset=utf-8"

#: Nothing from elsewhere, nothing inline, in nobody's frame.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_NO_PAGE_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"


def answer(
    status: int,
    body: bytes = b"",
    content_type: str = JSON,
    *,
    page: bool = False,
    cache: str = "no-store",
    also: Mapping[str, str] | None = None,
) -> Response:
    """Build an answer with further headers; the connection ends with it."""
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Cache-Control": cache,
            "Content-Security-Policy": _PAGE_POLICY if page else _NO_PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
    )
    if status == HTTPStatus.NOT_MODIFIED:
        del headers["Content-Length"]
    headers.update(also or {})
    return Response(status, HTTPStatus(status).phrase, headers, body)


def problem(status: int, text: str, also: Mapping[str, str] | None = None) -> Response:
    """Say what is wrong with a request, and the mend."""
    return answer(status, msgspec.json.encode({"error": text}), also=also)
