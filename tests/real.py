"""Where real data lies: in the folder that CANDLED_REAL_DATA names, by default ``../shared/data``.

It is not part of the project. Tests that need it say so and are skipped where it is absent; the
same properties are tested on seeded synthetic candles too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = Path(os.environ.get("CANDLED_REAL_DATA") or _BESIDE)

needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no real data in {REAL}: set CANDLED_REAL_DATA to its folder"
)


def real_data() -> Path:
    """Return the folder of real data; skips the test where it is absent."""
    if not REAL.is_dir():
        pytest.skip(f"no real data in {REAL}: set CANDLED_REAL_DATA to its folder")
    return REAL
