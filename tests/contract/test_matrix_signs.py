"""The matrix, for venues that never say when a bar is closed; see `matrix`."""

from __future__ import annotations

import pytest

from contract.matrix import Row, assert_passes
from contract.matrix_rows import chosen

VENUES = ("kraken", "coinbase", "hyperliquid")


@pytest.mark.parametrize(("venue", "row"), chosen(*VENUES))
def test_decisions_after_the_fault_are_those_of_a_clean_feed(venue: str, row: Row):
    """Each slot decided once, in order, from right windows or corrected; all told, then live."""
    assert_passes(venue, row)
