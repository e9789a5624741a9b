"""The page's files: read, zipped and digested once, at the start. Nothing else is ever read.

The chart's script is third-party code: it is taken out of the installed wheel of
`lightweight-charts`, which is not imported (it would bring pandas and a window of its own).
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from websockets.http11 import Response

from candled_adapters.web.answers import answer

PAGE: Final = Path(__file__).parent / "page"
CHART: Final = "/lightweight-charts.js"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
_SHORT: Final = 512  # bytes that are not worth zipping


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    body: bytes
    zipped: bytes | None
    """None where that would not be smaller."""
    etag: str
    content_type: str

    def answer(self, none_match: str, accepts: str) -> Response:
        """Answer a request with these If-None-Match and Accept-Encoding headers."""
        also = {"ETag": self.etag, "Vary": "Accept-Encoding"}
        if self.etag in [tag.strip() for tag in none_match.split(",")]:
            return answer(304, b"", self.content_type, page=True, cache="no-cache", also=also)
        body = self.body
        if self.zipped is not None and _takes_gzip(accepts):
            body, also = self.zipped, {**also, "Content-Encoding": "gzip"}
        return answer(200, body, self.content_type, page=True, cache="no-cache", also=also)


def _takes_gzip(accepts: str) -> bool:
    parts = [part.strip().lower().replace(" ", "") for part in accepts.split(",")]
    return any(part.partition(";")[0] == "gzip" and not part.endswith(";q=0") for part in parts)


def chart_script() -> Path | None:
    """Return where the chart's script is installed; None: the extra `page` is not."""
    spec = importlib.util.find_spec("lightweight_charts")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "js" / "lightweight-charts.js"
        if path.is_file():
            return path
    return None


def page_files(folder: Path, chart: Path) -> Mapping[str, Asset]:
    """Read what is served, by its path; the folder's index.html is /."""
    found = {f"/{file.relative_to(folder).as_posix()}": file for file in sorted(folder.rglob("*"))}
    served = {path: file for path, file in found.items() if file.suffix in _TYPES}
    assets = {path: _asset(file) for path, file in {**served, CHART: chart}.items()}
    if "/index.html" in assets:
        assets["/"] = assets["/index.html"]
    return assets


def _asset(file: Path) -> Asset:
    body = file.read_bytes()
    zipped = gzip.compress(body, 9, mtime=0) if len(body) > _SHORT else body
    return Asset(
        body=body,
        zipped=zipped if len(zipped) < len(body) else None,
        etag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
        content_type=_TYPES[file.suffix],
    )
