"""The page's files are read once, sent zipped where that helps, and not sent again unchanged."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from candled_adapters.web.files import CHART, Asset, chart_script, page_files

LONG = "let a = 1;\n" * 400


@pytest.fixture
def assets(tmp_path: Path) -> dict[str, Asset]:
    (tmp_path / "page" / "parts").mkdir(parents=True)
    (tmp_path / "chart.js").write_text(LONG + "chart")
    for name, text in (("index.html", "<p>hi"), ("parts/app.js", LONG), ("notes.txt", "secret")):
        (tmp_path / "page" / name).write_text(text)
    return dict(page_files(tmp_path / "page", tmp_path / "chart.js"))


def test_a_page_is_its_known_files_and_the_chart(assets: dict[str, Asset]):
    """Other kinds of files in the folder are not served."""
    assert sorted(assets) == ["/", "/index.html", CHART, "/parts/app.js"]
    assert assets["/"] is assets["/index.html"]
    kinds = {path: asset.content_type.partition(";")[0] for path, asset in assets.items()}
    assert (kinds["/"], kinds["/parts/app.js"]) == ("text/html", "text/javascript")


@pytest.mark.parametrize("accepts", ["gzip", "br, GZIP ;q=0.5", "deflate,gzip"])
def test_who_takes_gzip_gets_it(assets: dict[str, Asset], accepts: str):
    """And finds the same file in it; a cache is told that there are two forms."""
    asset = assets["/parts/app.js"]
    said = asset.answer("", accepts)
    assert said.headers["Content-Encoding"] == "gzip"
    assert said.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(said.body) == LONG.encode()
    assert said.headers["Content-Length"] == str(len(said.body))
    assert len(said.body) < len(LONG) / 10


@pytest.mark.parametrize("accepts", ["", "br", "gzip;q=0", "notgzip"])
def test_who_does_not_gets_the_file(assets: dict[str, Asset], accepts: str):
    """As it is."""
    said = assets["/parts/app.js"].answer("", accepts)
    assert "Content-Encoding" not in said.headers
    assert said.body == LONG.encode()


def test_what_would_not_get_smaller_is_not_zipped(assets: dict[str, Asset]):
    """A few bytes are sent as they are."""
    assert "Content-Encoding" not in assets["/"].answer("", "gzip").headers


def test_a_file_that_a_browser_has_is_not_sent_again(assets: dict[str, Asset]):
    """It asks each time, by the digest of what it has; another file has another digest."""
    asset = assets["/parts/app.js"]
    tag = asset.answer("", "gzip").headers["ETag"]
    for asked in (tag, f'"other", {tag}'):
        said = asset.answer(asked, "gzip")
        assert (said.status_code, said.body) == (304, b"")
        assert said.headers["ETag"] == tag
        assert "Content-Length" not in said.headers
    assert asset.answer('"other"', "").status_code == 200
    assert asset.answer("", "").headers["Cache-Control"] == "no-cache"
    assert assets[CHART].etag != tag


def test_the_chart_is_found_without_being_imported():
    """Its package would bring pandas and a window; only the file's place is asked for."""
    code = (
        "import sys\n"
        "from candled_adapters.web.files import chart_script\n"
        "print(chart_script())\n"
        "print([n for n in ('lightweight_charts', 'pandas', 'webview') if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    place, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert place == str(chart_script())
    if chart_script() is not None:
        assert b"Lightweight Charts" in chart_script().read_bytes()[:200]
