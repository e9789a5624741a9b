"""How many threads wait how: a setting that must be made before XGBoost's library is loaded."""

from __future__ import annotations

import os


def quiet_threads() -> None:
    """Let OpenMP's idle threads sleep; spinning makes a fit several times slower on busy cores.

    Must run before XGBoost's library is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
