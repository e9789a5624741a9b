"""What holds for all tests, before the first of them is imported."""

import os
from collections.abc import Iterator

import pytest
import structlog

# Idle OpenMP threads sleep instead of spinning: a small fit takes a tenth of the time on a busy
# machine. The library reads it when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# OpenBLAS's threads spin whatever one says; the matrices here are small, and each worker and each
# process that it starts would bring as many threads as there are cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _no_log_left_behind() -> Iterator[None]:
    """Undo what a test, or a program in it, has set up of the log, for those that read it."""
    yield
    structlog.reset_defaults()
