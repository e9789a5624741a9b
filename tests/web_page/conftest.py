"""One Chromium for all tests of the page; each page has a context of its own."""

from __future__ import annotations

import pytest

from browser import chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Where the browser listens."""
    with chromium(tmp_path_factory.mktemp("chromium")) as address:
        yield address
