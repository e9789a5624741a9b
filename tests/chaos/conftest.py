"""The table that a run prints at its end, and writes into the page where it is told to.

Under pytest-xdist each worker hands its rows to the one who prints.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from chaos.figures import Figures, Row
from chaos.plan import LONG, PAGE

FOUND = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FOUND] = Figures()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    return request.config.stash[FOUND]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this worker has found."""
    if hasattr(session.config, "workeroutput"):
        sections = session.config.stash[FOUND].sections
        told = {title: [astuple(row) for row in rows] for title, rows in sections.items()}
        session.config.workeroutput["chaos"] = told


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker has found."""
    for title, rows in getattr(node, "workeroutput", {}).get("chaos", {}).items():
        node.config.stash[FOUND].add(title, [Row(*row) for row in rows])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = config.stash[FOUND]
    if LONG and found.sections:
        terminalreporter.write_line(f"\n{found.table()}\n")
        if PAGE:
            found.write(Path(PAGE))
