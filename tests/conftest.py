"""What holds for all tests, before the first of them is imported."""

import os

# Idle OpenMP threads sleep instead of spinning: a small fit takes a tenth of the time on a busy
# machine. The library reads it when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
